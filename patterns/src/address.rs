//! Which addresses a URL from outside must not lead to: a guard against requests that are forged
//! through the server (SSRF).
//!
//! Refused is whatever is not a public unicast address: loopback, private and shared networks,
//! link-local (where clouds keep their metadata), multicast, documentation and reserved ranges, and
//! every IPv6 form that carries such an IPv4 address. Names are not judged: who connects resolves
//! the name once, asks here about each address, and connects to exactly those that pass. The ranges
//! are those of IANA's special-purpose registries.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Says why an address is refused.
#[non_exhaustive]
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub enum Refused {
    /// This host itself.
    Loopback,
    /// No address of a host: `0.0.0.0`, `::`, and their network.
    Unspecified,
    /// A network that is not routed outside.
    Private,
    /// Shared by a provider with its customers: `100.64.0.0/10`.
    Shared,
    /// The same link only; the metadata services of clouds are there.
    LinkLocal,
    /// A metadata service at another address.
    Metadata,
    /// Several hosts.
    Multicast,
    /// Kept for documentation, tests, protocols or the future.
    Reserved,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "a loopback address",
            Self::Unspecified => "an unspecified address",
            Self::Private => "a private address",
            Self::Shared => "an address of a provider's shared network",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "the address of a metadata service",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
        })
    }
}

/// Judges an address; none when it is public.
///
/// ```
/// use trunkline_patterns::address::{Refused, refused};
/// assert_eq!(refused("93.184.215.14".parse().unwrap()), None);
/// assert_eq!(refused("169.254.169.254".parse().unwrap()), Some(Refused::LinkLocal));
/// assert_eq!(refused("::ffff:127.0.0.1".parse().unwrap()), Some(Refused::Loopback));
/// ```
pub fn refused(address: IpAddr) -> Option<Refused> {
    match address {
        IpAddr::V4(address) => refused_v4(address),
        IpAddr::V6(address) => refused_v6(address),
    }
}

fn refused_v4(address: Ipv4Addr) -> Option<Refused> {
    let [a, b, c, _] = address.octets();
    Some(match (a, b, c) {
        (0, ..) => Refused::Unspecified,
        (127, ..) => Refused::Loopback,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Refused::Private,
        (100, 64..=127, _) => Refused::Shared,
        (169, 254, _) => Refused::LinkLocal,
        // The host that virtual machines of one cloud ask about themselves.
        (168, 63, 129) if address.octets()[3] == 16 => Refused::Metadata,
        (192, 0, 0 | 2) | (192, 88, 99) | (198, 18 | 19, _) => Refused::Reserved,
        (198, 51, 100) | (203, 0, 113) => Refused::Reserved,
        (224..=239, ..) => Refused::Multicast,
        (240..=255, ..) => Refused::Reserved,
        _ => return None,
    })
}

fn refused_v6(address: Ipv6Addr) -> Option<Refused> {
    let segments = address.segments();
    if address.is_unspecified() {
        return Some(Refused::Unspecified);
    }
    if address.is_loopback() {
        return Some(Refused::Loopback);
    }
    let last = || v4_of(segments[6], segments[7]);
    Some(match segments {
        // IPv4 in other clothes: compatible, mapped, translated, and behind the known NAT64 prefix.
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => {
            return refused_v4(last());
        }
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => return refused_v4(last()),
        // 6to4 carries its IPv4 address behind the prefix.
        [0x2002, high, low, ..] => return refused_v4(v4_of(high, low)),
        [0xfc00..=0xfdff, ..] => Refused::Private,
        [0xfe80..=0xfebf, ..] => Refused::LinkLocal,
        // The old site-local networks.
        [0xfec0..=0xfeff, ..] => Refused::Private,
        [0xff00..=0xffff, ..] => Refused::Multicast,
        // Teredo, benchmarks, ORCHID: protocols, and the ranges of documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Refused::Reserved,
        // What is left of global unicast.
        [0x2000..=0x3fff, ..] => return None,
        _ => Refused::Reserved,
    })
}

fn v4_of(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(address: &str) -> Option<Refused> {
        refused(address.parse().unwrap())
    }

    #[test]
    fn public_addresses_pass_and_all_others_say_why_not() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.128.0.1",
            "192.1.0.1",
            "198.20.0.1",
            "168.63.129.17",
            "2606:4700::1111",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "::ffff:8.8.8.8",
        ] {
            assert_eq!(judged(address), None, "{address}");
        }
        for (address, why) in [
            ("127.0.0.1", Refused::Loopback),
            ("127.255.255.254", Refused::Loopback),
            ("::1", Refused::Loopback),
            ("0.0.0.0", Refused::Unspecified),
            ("0.1.2.3", Refused::Unspecified),
            ("::", Refused::Unspecified),
            ("10.0.0.1", Refused::Private),
            ("172.16.0.1", Refused::Private),
            ("172.31.255.255", Refused::Private),
            ("192.168.1.1", Refused::Private),
            ("fd00:ec2::254", Refused::Private),
            ("fec0::1", Refused::Private),
            ("100.64.0.1", Refused::Shared),
            ("100.100.100.200", Refused::Shared),
            ("169.254.169.254", Refused::LinkLocal),
            ("fe80::1", Refused::LinkLocal),
            ("168.63.129.16", Refused::Metadata),
            ("224.0.0.1", Refused::Multicast),
            ("ff02::1", Refused::Multicast),
            ("192.0.0.192", Refused::Reserved),
            ("192.0.2.1", Refused::Reserved),
            ("198.18.0.1", Refused::Reserved),
            ("203.0.113.9", Refused::Reserved),
            ("240.0.0.1", Refused::Reserved),
            ("255.255.255.255", Refused::Reserved),
            ("2001:db8::1", Refused::Reserved),
            ("2001::1", Refused::Reserved),
            ("3fff::1", Refused::Reserved),
            ("64:ff9b:1::1", Refused::Reserved),
            ("100::1", Refused::Reserved),
            ("5f00::1", Refused::Reserved),
            ("4000::1", Refused::Reserved),
        ] {
            assert_eq!(judged(address), Some(why), "{address}");
        }
    }

    proptest! {
        /// Proves: no IPv6 clothing lets an IPv4 address pass that is refused by itself.
        #[test]
        fn an_address_in_other_clothes_is_judged_like_itself(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let [a, b, c, d] = v4.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            let plain = refused(v4.into());
            for clothed in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(refused(clothed.into()), plain, "{}", clothed);
            }
        }

        #[test]
        fn what_the_standard_library_calls_special_never_passes(bits: u128) {
            let address = Ipv6Addr::from(bits);
            let is_special = address.is_multicast() || address.is_unique_local()
                || address.is_unicast_link_local() || address.is_loopback();
            prop_assert!(!is_special || refused(address.into()).is_some());
            let v4 = Ipv4Addr::from(bits as u32);
            let is_special = v4.is_private() || v4.is_loopback() || v4.is_link_local()
                || v4.is_multicast() || v4.is_documentation() || v4.is_broadcast();
            prop_assert!(!is_special || refused(v4.into()).is_some());
        }
    }
}
