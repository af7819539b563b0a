//! nft's expressions as JSON (libnftables-json(5)).

use std::net::IpAddr;

use meshd_contract::address::AddressRange;
use meshd_contract::filter::PortRange;
use serde_json::{Value, json};

/// A comparison of `left` with `right`.
pub(super) fn matches(op: &str, left: Value, right: Value) -> Value {
    json!({"match": {"op": op, "left": left, "right": right}})
}

/// The device through which the packet comes in.
pub(super) fn comes_in(op: &str, device: Value) -> Value {
    matches(op, json!({"meta": {"key": "iifname"}}), device)
}

/// What is known about the packet, not in it.
pub(super) fn meta(key: &str, value: Value) -> Value {
    matches("==", json!({"meta": {"key": key}}), value)
}

/// A field of a header.
pub(super) fn field(protocol: &str, field: &str, value: Value) -> Value {
    let left = json!({"payload": {"protocol": protocol, "field": field}});
    matches("==", left, value)
}

/// Part of a connection that was let in, or an error about one.
pub(super) fn is_known() -> Value {
    let left = json!({"ct": {"key": "state"}});
    matches("in", left, json!(["established", "related"]))
}

/// The port that the connection was opened to, before any translation.
pub(super) fn original_port() -> Value {
    json!({"ct": {"key": "proto-dst", "dir": "original"}})
}

/// Sends the packet to another destination.
pub(super) fn destination(family: &str, address: IpAddr, port: u16) -> Value {
    json!({"dnat": {"family": family, "addr": address, "port": port}})
}

/// Lets the packet through.
pub(super) fn accept() -> Value {
    json!({"accept": null})
}

/// Ends the packet.
pub(super) fn drop() -> Value {
    json!({"drop": null})
}

/// A range of addresses.
pub(super) fn written(range: &AddressRange) -> Value {
    if range.first() == range.last() {
        json!(range.first())
    } else {
        json!({"range": [range.first(), range.last()]})
    }
}

/// A range of ports.
pub(super) fn port_range(range: &PortRange) -> Value {
    if range.first == range.last {
        json!(range.first)
    } else {
        json!({"range": [range.first, range.last]})
    }
}
