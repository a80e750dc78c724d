//! Which addresses a webhook may call: a server that posts where others tell it to must not become their way into the network that it
//! stands in.
//!
//! Every address is in one of three classes. *Open*: the internet. *Private*: this machine and its networks, called only where the operator
//! said so ([`PrivateNetworks`]). *Closed*: never called, whatever is configured: link-local addresses and those where clouds
//! keep the credentials of a machine, multicast, unspecified and reserved ones, and ways to hide another address in an IPv6 one that nobody
//! needs here. An IPv6 address that carries an IPv4 one (mapped, NAT64, 6to4) is in the class of what it carries.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The private networks that webhooks may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PrivateNetworks {
    /// None of them.
    #[default]
    None,
    /// All of them.
    All,
    /// These.
    Listed(Vec<IpNet>),
}

impl PrivateNetworks {
    fn contain(&self, ip: IpAddr) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Listed(networks) => networks.iter().any(|network| network.contains(&ip)),
        }
    }
}

impl FromStr for PrivateNetworks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "none" => return Ok(Self::None),
            "all" => return Ok(Self::All),
            _ => {}
        }
        let network = |part: &str| {
            let part = part.trim();
            let alone = || part.parse::<IpAddr>().map(IpNet::from);
            part.parse::<IpNet>().or_else(|_| alone()).map_err(|_| {
                format!("{part:?} is no network: write none, all, or networks and addresses with commas, such as 10.1.0.0/16, 127.0.0.1")
            })
        };
        text.split(',').map(network).collect::<Result<_, _>>().map(Self::Listed)
    }
}

impl fmt::Display for PrivateNetworks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::All => f.write_str("all"),
            Self::Listed(networks) => {
                let texts: Vec<String> = networks.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(","))
            }
        }
    }
}

/// Why an address is not called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressForbidden {
    /// It never is.
    #[error("{ip} is {what}: webhooks never call such an address")]
    Closed {
        /// The address.
        ip: IpAddr,
        /// What it is.
        what: &'static str,
    },
    /// It is not unless the operator says so.
    #[error(
        "{ip} is {what}: webhooks call it only where the server's setting webhooks.private_networks names it"
    )]
    Private {
        /// The address.
        ip: IpAddr,
        /// What it is.
        what: &'static str,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Open,
    Private(&'static str),
    Closed(&'static str),
}

use Class::{Closed, Private};

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(parts: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = parts;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// The first network that has an address says what it is.
const V4: [(Ipv4Net, Class); 19] = [
    (v4(0, 0, 0, 0, 8), Closed("unspecified")),
    (v4(169, 254, 0, 0, 16), Closed("link-local, where clouds keep the credentials of a machine")),
    (v4(100, 100, 100, 200, 32), Closed("where a cloud keeps the credentials of a machine")),
    (v4(168, 63, 129, 16, 32), Closed("where a cloud manages a machine")),
    (v4(192, 0, 0, 0, 24), Closed("reserved for protocols")),
    (v4(192, 0, 2, 0, 24), Closed("for documentation")),
    (v4(198, 51, 100, 0, 24), Closed("for documentation")),
    (v4(203, 0, 113, 0, 24), Closed("for documentation")),
    (v4(192, 88, 99, 0, 24), Closed("a relay")),
    (v4(224, 0, 0, 0, 4), Closed("multicast")),
    (v4(255, 255, 255, 255, 32), Closed("broadcast")),
    (v4(240, 0, 0, 0, 4), Closed("reserved")),
    (v4(127, 0, 0, 0, 8), Private("this machine")),
    (v4(10, 0, 0, 0, 8), Private("private")),
    (v4(172, 16, 0, 0, 12), Private("private")),
    (v4(192, 168, 0, 0, 16), Private("private")),
    (v4(100, 64, 0, 0, 10), Private("shared among a provider's customers")),
    (v4(198, 18, 0, 0, 15), Private("for benchmarks")),
    (v4(0, 0, 0, 0, 0), Class::Open),
];

const V6: [(Ipv6Net, Class); 16] = [
    (v6([0; 8], 128), Closed("unspecified")),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Private("this machine")),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Closed("link-local")),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Closed("site-local")),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Closed("multicast")),
    (
        v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0], 32),
        Closed("where a cloud keeps the credentials of a machine"),
    ),
    (
        v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0], 32),
        Closed("where a cloud keeps the credentials of a machine"),
    ),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Private("private")),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), Closed("a translation into another network")),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), Closed("a tunnel")),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), Closed("for documentation")),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Closed("reserved for protocols")),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Closed("for documentation")),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), Closed("reserved for routing")),
    (v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3), Class::Open),
    (v6([0; 8], 0), Closed("reserved")),
];

/// The IPv4 address that an IPv6 address carries, if it does.
fn carried(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = ip.segments();
    let v4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match parts {
        // Unspecified and loopback are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // IPv4-mapped, IPv4-compatible, IPv4-translated, NAT64; 6to4; ISATAP, in whatever network.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..]
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => Some(v4(high, low)),
        _ => None,
    }
}

fn class_of_v4(ip: Ipv4Addr) -> Class {
    let found = V4.iter().find(|(network, _)| network.contains(&ip));
    found.map_or(Closed("reserved"), |(_, class)| *class)
}

fn class_of(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(ip) => class_of_v4(ip),
        IpAddr::V6(ip) => {
            if let Some(ip) = carried(ip) {
                return class_of_v4(ip);
            }
            let found = V6.iter().find(|(network, _)| network.contains(&ip));
            found.map_or(Closed("reserved"), |(_, class)| *class)
        }
    }
}

/// Whether an address may be called.
///
/// # Errors
/// Why not.
pub(super) fn check(ip: IpAddr, allowed: &PrivateNetworks) -> Result<(), AddressForbidden> {
    match class_of(ip) {
        Class::Open => Ok(()),
        Closed(what) => Err(AddressForbidden::Closed { ip, what }),
        Private(what) => {
            let inner = match ip {
                IpAddr::V6(v6) => carried(v6).map_or(ip, IpAddr::V4),
                IpAddr::V4(_) => ip,
            };
            if allowed.contain(inner) {
                Ok(())
            } else {
                Err(AddressForbidden::Private { ip, what })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(text: &str) -> &'static str {
        match class_of(text.parse().unwrap()) {
            Class::Open => "open",
            Private(_) => "private",
            Closed(_) => "closed",
        }
    }

    #[test]
    fn every_address_is_in_its_class() {
        let table = [
            (
                "open",
                "1.1.1.1 8.8.8.8 93.184.215.14 11.0.0.1 172.15.255.255 172.32.0.1 192.167.0.1 169.253.255.255",
            ),
            (
                "open",
                "100.63.255.255 100.128.0.0 223.255.255.255 2606:4700::1111 2a00:1450:4001::1 2001:4860:4860::8888",
            ),
            ("open", "::ffff:1.1.1.1 64:ff9b::1.1.1.1 2002:0101:0101::1"),
            (
                "private",
                "127.0.0.1 127.255.255.255 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1",
            ),
            (
                "private",
                "100.64.0.1 198.18.0.1 ::1 fc00::1 fd12:3456::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1",
            ),
            (
                "private",
                "64:ff9b::10.0.0.1 2002:7f00:0001::1 2002:c0a8:0001::1 ::127.0.0.1 2001:4860::5efe:10.0.0.1",
            ),
            (
                "closed",
                "0.0.0.0 0.1.2.3 169.254.169.254 169.254.0.1 100.100.100.200 168.63.129.16 192.0.0.192",
            ),
            (
                "closed",
                "192.0.2.1 198.51.100.1 203.0.113.1 192.88.99.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255",
            ),
            (
                "closed",
                ":: fe80::1 febf::1 fec0::1 ff02::1 fd00:ec2::254 fd20:ce::254 2001:db8::1 3fff::1 2001::1 2001:10::1",
            ),
            (
                "closed",
                "::ffff:169.254.169.254 ::169.254.169.254 64:ff9b::169.254.169.254 64:ff9b:1::a9fe:a9fe",
            ),
            (
                "closed",
                "2002:a9fe:a9fe::1 ::ffff:0:169.254.169.254 fe80::5efe:169.254.169.254 ::ffff:0.0.0.0 4000::1 100::1",
            ),
            ("closed", "2606:4700::5efe:a9fe:a9fe fd00::5efe:a9fe:a9fe"),
        ];
        for (expected, addresses) in table {
            for address in addresses.split(' ') {
                assert_eq!(class(address), expected, "{address}");
            }
        }
    }

    #[test]
    fn private_networks_are_called_where_they_are_named_and_closed_ones_never() {
        let check = |ip: &str, allowed: &str| check(ip.parse().unwrap(), &allowed.parse().unwrap());
        assert!(check("10.1.2.3", "none").is_err());
        assert_eq!(check("10.1.2.3", "all"), Ok(()));
        assert_eq!(check("10.1.2.3", "10.1.0.0/16, 127.0.0.1"), Ok(()));
        assert_eq!(check("127.0.0.1", "10.1.0.0/16, 127.0.0.1"), Ok(()));
        assert_eq!(check("::ffff:127.0.0.1", "127.0.0.1"), Ok(()));
        assert_eq!(check("fd12::1", "fd12::/16"), Ok(()));
        for (ip, allowed) in [
            ("10.2.2.3", "10.1.0.0/16"),
            ("127.0.0.2", "127.0.0.1"),
            ("::1", "127.0.0.0/8"),
            ("64:ff9b::10.2.0.1", "10.1.0.0/16"),
        ] {
            let error = check(ip, allowed).unwrap_err();
            assert!(matches!(error, AddressForbidden::Private { .. }), "{ip}: {error}");
            assert!(error.to_string().contains("webhooks.private_networks"));
        }
        for ip in ["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "0.0.0.0"] {
            for allowed in ["all", "0.0.0.0/0, ::/0"] {
                let error = check(ip, allowed).unwrap_err();
                assert!(matches!(error, AddressForbidden::Closed { .. }), "{ip}: {error}");
            }
        }
    }

    #[test]
    fn networks_are_read_and_shown() {
        for text in ["none", "all", "10.1.0.0/16,127.0.0.1/32,fd12::/16"] {
            assert_eq!(text.parse::<PrivateNetworks>().unwrap().to_string(), text);
        }
        for text in ["", "true", "10.1.0.0/33", "10.1", "10.1.0.0/16,,"] {
            let error = text.parse::<PrivateNetworks>().unwrap_err();
            assert!(error.contains("write none, all"), "{error}");
        }
    }
}
