//! Access: who may ask what. Decided by the user that the kernel says is at the other end, and by nothing that it says itself.

use std::collections::HashMap;

use postern_core::TenantId;
use postern_protocol::{Refusal, Request};

/// Somebody who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    /// The user, by number.
    pub(super) uid: u32,
    may: May,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum May {
    /// Everything: root, and the user that the daemon itself is.
    Everything,
    /// Look at what is these tenants': it is their user.
    See(Vec<TenantId>),
    /// Nothing.
    Nothing,
}

/// What of the daemon's things an answer may be about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// All of them.
    All,
    /// Those of these tenants.
    Of(Vec<TenantId>),
}

/// Who has which tenants, by the configuration in force.
pub(super) type TenantsOfUsers = HashMap<u32, Vec<TenantId>>;

impl Asker {
    /// Who a user is to a daemon that was started as `own`, if that is not root.
    pub(super) fn of(uid: u32, own: Option<u32>, tenants: &TenantsOfUsers) -> Self {
        let may = match tenants.get(&uid) {
            _ if uid == 0 || Some(uid) == own => May::Everything,
            Some(tenants) => May::See(tenants.clone()),
            None => May::Nothing,
        };
        Self { uid, may }
    }

    /// Whether it may ask for anything at all.
    pub(super) fn is_known(&self) -> bool {
        self.may != May::Nothing
    }

    /// What the answer to a request may be about, narrowed to the tenant that the request names.
    ///
    /// # Errors
    /// If it may not ask that.
    pub(super) fn view(&self, request: &Request) -> Result<View, Refusal> {
        let tenants = match &self.may {
            May::Everything => return Ok(narrow_all(named_tenant(request))),
            May::See(tenants) => tenants,
            May::Nothing => {
                return match request {
                    Request::GetInfo | Request::GetInterfaceDescription(_) => Ok(View::Of(Vec::new())),
                    _ => {
                        Err(self.refusal("anything", "root may, and the users of tenants for what is theirs"))
                    }
                };
            }
        };
        match request {
            Request::Open(_) | Request::Close(_) => {
                Err(self.refusal("opening and closing by hand", "root may"))
            }
            Request::Reload => {
                Err(self.refusal("a reload", "root may; files of rules are read when they change"))
            }
            Request::Confirm => Err(self.refusal("confirming", "root may")),
            _ => match named_tenant(request) {
                None => Ok(View::Of(tenants.clone())),
                Some(name) => match tenants.iter().find(|tenant| tenant.as_str() == name) {
                    Some(tenant) => Ok(View::Of(vec![tenant.clone()])),
                    // Whether there is one of that name is none of its business.
                    None => Err(self.refusal("what is another tenant's", "root may")),
                },
            },
        }
    }

    fn refusal(&self, what: &str, remedy: &str) -> Refusal {
        Refusal::NotAllowed { uid: self.uid, what: what.to_owned(), remedy: remedy.to_owned() }
    }
}

fn narrow_all(named: Option<&str>) -> View {
    named.map_or(View::All, |name| View::Of(vec![TenantId::new(name)]))
}

/// The tenant whose things a request asks for, if it names one.
pub(super) fn named_tenant(request: &Request) -> Option<&str> {
    match request {
        Request::Doors(of) | Request::Rules(of) => of.tenant.as_deref(),
        Request::Status(of) => of.tenant.as_deref(),
        Request::Clients(of) => of.tenant.as_deref(),
        Request::Explain(explain) => explain.tenant.as_deref(),
        Request::Tail(tail) => tail.tenant.as_deref(),
        _ => None,
    }
}

impl View {
    /// Whether what is this tenant's may be shown; none is the machine's.
    pub(super) fn shows(&self, tenant: Option<&TenantId>) -> bool {
        match self {
            Self::All => true,
            Self::Of(tenants) => tenant.is_some_and(|tenant| tenants.contains(tenant)),
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::{
        ClientsOf, CloseDoor, Explain, InterfaceName, OpenDoor, Selection, StatusOf, Tail,
    };

    use super::*;

    fn requests() -> Vec<Request> {
        let door = || ("ssh".to_owned(), "192.0.2.7".to_owned());
        let ((open, of), (close, by)) = (door(), door());
        vec![
            Request::Status(StatusOf::default()),
            Request::Doors(Selection::default()),
            Request::Rules(Selection::default()),
            Request::Clients(ClientsOf::default()),
            Request::Explain(Explain { address: "192.0.2.7".parse().unwrap(), follow: true, tenant: None }),
            Request::Tail(Tail::default()),
            Request::Open(OpenDoor { door: open, client: of, lasts_ms: None }),
            Request::Close(CloseDoor { door: close, client: by }),
            Request::Reload,
            Request::Confirm,
            Request::GetInfo,
            Request::GetInterfaceDescription(InterfaceName { interface: "a.b".to_owned() }),
        ]
    }

    fn tenants() -> TenantsOfUsers {
        HashMap::from([(1001, vec![TenantId::new("web")]), (1002, vec![TenantId::new("ops")])])
    }

    #[test]
    fn root_and_the_daemons_own_user_may_everything() {
        for uid in [0, 1000] {
            let asker = Asker::of(uid, Some(1000), &tenants());
            for request in requests() {
                assert_eq!(asker.view(&request), Ok(View::All), "{request:?}");
            }
        }
    }

    #[test]
    fn a_tenants_user_may_look_at_what_is_its_own() {
        let asker = Asker::of(1001, None, &tenants());
        let own = View::Of(vec![TenantId::new("web")]);
        for request in requests() {
            let acts =
                matches!(request, Request::Open(_) | Request::Close(_) | Request::Reload | Request::Confirm);
            assert_eq!(asker.view(&request).ok(), (!acts).then(|| own.clone()), "{request:?}");
        }
        let of_tenant = |name: &str| {
            let tenant = Some(name.to_owned());
            let selection = || Selection { tenant: tenant.clone(), ..Selection::default() };
            let address = "192.0.2.7".parse().unwrap();
            [
                Request::Status(StatusOf { tenant: tenant.clone() }),
                Request::Doors(selection()),
                Request::Rules(selection()),
                Request::Clients(ClientsOf { tenant: tenant.clone(), address: None }),
                Request::Explain(Explain { address, follow: true, tenant: tenant.clone() }),
                Request::Tail(Tail { tenant: tenant.clone(), ..Tail::default() }),
            ]
        };
        let root = Asker::of(0, None, &tenants());
        for request in of_tenant("web") {
            assert_eq!(asker.view(&request), Ok(own.clone()), "{request:?}");
            assert_eq!(root.view(&request), Ok(own.clone()), "{request:?}");
        }
        for request in ["ops", "host", "nobody"].into_iter().flat_map(of_tenant) {
            let refusal = asker.view(&request).unwrap_err();
            assert_eq!(
                refusal.to_string(),
                "user 1001 may not ask for what is another tenant's; root may",
                "{request:?}"
            );
        }
        assert!(own.shows(Some(&TenantId::new("web"))));
        assert!(!own.shows(Some(&TenantId::new("ops"))));
        assert!(!own.shows(None), "the machine's");
    }

    #[test]
    fn a_stranger_learns_what_this_is_and_nothing_else() {
        let asker = Asker::of(1003, None, &tenants());
        assert!(!asker.is_known());
        for request in requests() {
            let is_info = matches!(request, Request::GetInfo | Request::GetInterfaceDescription(_));
            assert_eq!(asker.view(&request).is_ok(), is_info, "{request:?}");
        }
    }
}
