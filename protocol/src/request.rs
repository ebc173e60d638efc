//! Request: what can be asked of the daemon.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::{INTERFACE, SERVICE};

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// How the daemon is.
    Status(StatusOf),
    /// Which doors are open for whom.
    Doors(Selection),
    /// What has become of each rule.
    Rules(Selection),
    /// Whose knocks are half finished.
    Clients(ClientsOf),
    /// Why an address did not get in. With `follow` it must be asked with `more`.
    Explain(Explain),
    /// Everything that is reported from now on. It must be asked with `more`.
    Tail(Tail),
    /// Open a door by hand.
    Open(OpenDoor),
    /// Close a door by hand.
    Close(CloseDoor),
    /// Read the configuration again, and answer when that is in force or refused.
    Reload,
    /// Keep what `posternd try` has put in place.
    Confirm,
    /// What service this is.
    GetInfo,
    /// What an interface is, in Varlink's language.
    GetInterfaceDescription(InterfaceName),
}

macro_rules! parameters {
    ($($(#[$of:meta])* $name:ident { $($(#[$field:meta])* $key:ident: $type:ty,)* })*) => {$(
        $(#[$of])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field])* #[serde(skip_serializing_if = "Option::is_none")] pub $key: Option<$type>,)*
        }
    )*};
}

parameters! {
    /// Of whom something is asked; of everybody that the asker may see, where nothing is said.
    Selection {
        /// Of this tenant; `host` is the administrator of the machine.
        tenant: String,
        /// Of this door.
        door: String,
    }
    /// Whose rules the state is asked of; of all that the asker may see, where nothing is said.
    StatusOf {
        /// Of this tenant, as it sees it.
        tenant: String,
    }
    /// Whose half-finished knocks.
    ClientsOf {
        /// At rules of this tenant.
        tenant: String,
        /// Of this address.
        address: IpAddr,
    }
    /// What of the reports is wanted; all that the asker may see, where nothing is said.
    Tail {
        /// Of this tenant.
        tenant: String,
        /// Of the rule with this name.
        rule: String,
        /// About this address, or one of this network.
        from: String,
        /// Of these kinds, as logs name them.
        kinds: Vec<String>,
    }
}

/// Whose failed knock is to be explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// The client's address.
    pub address: IpAddr,
    /// To tell what comes from it from now on, instead of what is remembered.
    #[serde(default)]
    pub follow: bool,
    /// As this tenant sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// A door to be opened by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenDoor {
    /// Its name.
    pub door: String,
    /// For whom: an address, or a network as in `192.0.2.0/24`.
    pub client: String,
    /// For how long, in milliseconds; as long as the configuration says, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lasts_ms: Option<u64>,
}

/// A door to be closed by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseDoor {
    /// Its name.
    pub door: String,
    /// For whom it is open, as [`OpenDoor::client`].
    pub client: String,
}

/// The name of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceName {
    /// Such as [`INTERFACE`].
    pub interface: String,
}

/// A request as it comes over the socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Whether the asker takes several answers.
    pub more: bool,
    /// Whether the asker takes none.
    pub oneway: bool,
}

/// Why a message is no request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// It is no message of Varlink's at all, after which no other can be understood.
    #[error("not a message of Varlink: {0}")]
    Malformed(String),
    /// There is no such interface.
    #[error("no interface {0}")]
    Interface(String),
    /// There is no such method.
    #[error("no method {0}")]
    Method(String),
    /// The parameters are not those of the method.
    #[error("{0}")]
    Parameter(String),
}

#[derive(Deserialize)]
struct RawCall {
    method: String,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    #[serde(default)]
    more: bool,
    #[serde(default)]
    oneway: bool,
}

impl Call {
    /// Reads a request.
    ///
    /// # Errors
    /// If it is none.
    pub fn read(message: &[u8]) -> Result<Self, CallError> {
        // An object: the derived reader would take an array of the same values as well.
        let object: Result<Map<String, Value>, _> = serde_json::from_slice(message);
        let raw = object.and_then(|object| serde_json::from_value(Value::Object(object)));
        let raw: RawCall = raw.map_err(|error| CallError::Malformed(error.to_string()))?;
        let RawCall { method, parameters, more, oneway } = raw;
        let parameters = Value::Object(parameters.unwrap_or_default());
        Ok(Self { request: Request::read(&method, parameters)?, more, oneway })
    }

    /// The message.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut call = json!({ "method": self.request.method(), "parameters": self.request.parameters() });
        for (key, is_set) in [("more", self.more), ("oneway", self.oneway)] {
            if is_set {
                call[key] = true.into();
            }
        }
        call
    }
}

impl Request {
    /// The full name of its method.
    #[must_use]
    pub fn method(&self) -> String {
        let (interface, name) = match self {
            Self::Status(_) => (INTERFACE, "Status"),
            Self::Doors(_) => (INTERFACE, "Doors"),
            Self::Rules(_) => (INTERFACE, "Rules"),
            Self::Clients(_) => (INTERFACE, "Clients"),
            Self::Explain(_) => (INTERFACE, "Explain"),
            Self::Tail(_) => (INTERFACE, "Tail"),
            Self::Open(_) => (INTERFACE, "Open"),
            Self::Close(_) => (INTERFACE, "Close"),
            Self::Reload => (INTERFACE, "Reload"),
            Self::Confirm => (INTERFACE, "Confirm"),
            Self::GetInfo => (SERVICE, "GetInfo"),
            Self::GetInterfaceDescription(_) => (SERVICE, "GetInterfaceDescription"),
        };
        format!("{interface}.{name}")
    }

    fn parameters(&self) -> Value {
        let parameters = match self {
            Self::Reload | Self::Confirm | Self::GetInfo => return json!({}),
            Self::Status(of) => serde_json::to_value(of),
            Self::Doors(selection) | Self::Rules(selection) => serde_json::to_value(selection),
            Self::Clients(of) => serde_json::to_value(of),
            Self::Explain(explain) => serde_json::to_value(explain),
            Self::Tail(tail) => serde_json::to_value(tail),
            Self::Open(open) => serde_json::to_value(open),
            Self::Close(close) => serde_json::to_value(close),
            Self::GetInterfaceDescription(name) => serde_json::to_value(name),
        };
        // There is nothing in them that cannot be written.
        parameters.unwrap_or_default()
    }

    fn read(method: &str, parameters: Value) -> Result<Self, CallError> {
        let (interface, name) = method.rsplit_once('.').unwrap_or(("", method));
        Ok(match (interface, name) {
            (INTERFACE, "Status") => Self::Status(typed(parameters)?),
            (INTERFACE, "Doors") => Self::Doors(typed(parameters)?),
            (INTERFACE, "Rules") => Self::Rules(typed(parameters)?),
            (INTERFACE, "Clients") => Self::Clients(typed(parameters)?),
            (INTERFACE, "Explain") => Self::Explain(typed(parameters)?),
            (INTERFACE, "Tail") => Self::Tail(typed(parameters)?),
            (INTERFACE, "Open") => Self::Open(typed(parameters)?),
            (INTERFACE, "Close") => Self::Close(typed(parameters)?),
            (INTERFACE, "Reload") => none(&parameters).map(|()| Self::Reload)?,
            (INTERFACE, "Confirm") => none(&parameters).map(|()| Self::Confirm)?,
            (SERVICE, "GetInfo") => none(&parameters).map(|()| Self::GetInfo)?,
            (SERVICE, "GetInterfaceDescription") => Self::GetInterfaceDescription(typed(parameters)?),
            (INTERFACE | SERVICE, _) => return Err(CallError::Method(method.to_owned())),
            _ => return Err(CallError::Interface(interface.to_owned())),
        })
    }
}

fn typed<T: for<'de> Deserialize<'de>>(parameters: Value) -> Result<T, CallError> {
    serde_json::from_value(parameters).map_err(|error| CallError::Parameter(error.to_string()))
}

/// That a method without parameters got none.
fn none(parameters: &Value) -> Result<(), CallError> {
    match parameters.as_object().and_then(|parameters| parameters.keys().next()) {
        Some(name) => Err(CallError::Parameter(format!("unknown field `{name}`, there are none"))),
        None => Ok(()),
    }
}
