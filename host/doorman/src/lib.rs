//! Opens and closes doors in nftables over netlink.
