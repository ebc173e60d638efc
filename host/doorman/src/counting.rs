//! Counting: whether this kernel counts at the elements of sets as it is asked to.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{
    NfTablesMessage, SetAttribute, SetFlags, SetMessage, TableAttribute, TableMessage,
};
use postern_core::{Family, SetName};

use crate::counter::{self, Counter};
use crate::elements::counted_message;
use crate::socket::Socket;

/// A table that is there for no moment: it is made and removed in one transaction, to see what the kernel takes.
const TRIED: &str = "postern-counts";

/// The type `mark` as nft numbers it, and bytes of such a key.
const MARK: u32 = 19;
const MARK_KEY: u32 = 4;

/// Whether the kernel takes sets that count, and elements that go on from a number.
///
/// It is tried, in one transaction that leaves nothing behind: neither a guard nor an opening may fail because of what it counts.
pub(crate) fn is_possible(socket: &mut Socket) -> bool {
    let set = SetName { family: Family::Inet, table: TRIED.to_owned(), name: "tried".to_owned() };
    let table = || TableMessage { attributes: vec![TableAttribute::Name(TRIED.to_owned())] };
    let attributes = vec![
        SetAttribute::Table(TRIED.to_owned()),
        SetAttribute::Name(set.name.clone()),
        SetAttribute::Id(1),
        SetAttribute::Flags(SetFlags::Timeout),
        SetAttribute::KeyType(MARK),
        SetAttribute::KeyLen(MARK_KEY),
        counter::declaration(),
    ];
    let element = counted_message(&set, &[0; MARK_KEY as usize], 1000, Counter::default());
    let mut batch = socket.begin();
    // Never one that another program made under this name.
    batch.push(set.family, NLM_F_CREATE | NLM_F_EXCL, NfTablesMessage::NewTable(table()));
    batch.push(set.family, NLM_F_CREATE, NfTablesMessage::NewSet(SetMessage { attributes }));
    batch.push(set.family, NLM_F_CREATE, NfTablesMessage::NewSetElement(element));
    batch.push(set.family, 0, NfTablesMessage::DeleteTable(table()));
    socket.commit(batch).is_ok()
}
