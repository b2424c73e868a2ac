//! What only who looks for mistakes wants to know of links: where the other end of a cable is, which XDP program is attached.
//! And the one thing that it may do to them: raise them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;

use futures_util::StreamExt;
use rtnetlink::LinkUnspec;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkMessage, LinkXdp, XdpAttached};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};

use super::{Netlink, NetlinkError, collect};

/// An XDP program on a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The kernel's number of it.
    pub id: u32,
    /// `native`, `generic`, `offloaded`, or `several` at once.
    pub mode: &'static str,
}

/// One link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its name.
    pub name: String,
    /// Largest IP packet, in bytes.
    pub mtu: u32,
    /// By its administrator's will.
    pub is_up: bool,
    /// Whether there is somebody at the other end.
    pub has_carrier: bool,
    /// Index of the other end of a veth, or of what it lies upon.
    pub link: Option<u32>,
    /// Number of the namespace that `link` is in; none: this one.
    pub link_namespace: Option<i32>,
    /// Index of the bridge or bond that it belongs to.
    pub master: Option<u32>,
    /// RX and TX queues.
    pub queues: (u32, u32),
    /// The XDP program on it.
    pub program: Option<Attached>,
}

impl Netlink {
    /// All links, by index.
    pub async fn links(&self) -> Result<BTreeMap<u32, LinkFacts>, NetlinkError> {
        collect(self.requests.link().get().execute(), |message| decode(&message)).await
    }

    /// Our number of the namespace of this file; none where it has none.
    pub async fn namespace_number(&self, namespace: &File) -> Option<i32> {
        let mut question = NsidMessage::default();
        question.attributes.push(NsidAttribute::Fd(u32::try_from(namespace.as_raw_fd()).ok()?));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(question));
        request.header.flags = NLM_F_REQUEST;
        let mut requests = self.requests.clone();
        let mut answers = requests.request(request).ok()?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) = answer.payload {
                return answer.attributes.iter().find_map(|attribute| match attribute {
                    NsidAttribute::Id(id) if *id >= 0 => Some(*id),
                    _ => None,
                });
            }
        }
        None
    }

    /// Sets a link up.
    pub async fn raise(&self, ifindex: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(ifindex).up().build();
        Ok(self.requests.link().change(message).execute().await?)
    }
}

fn decode(message: &LinkMessage) -> Option<(u32, LinkFacts)> {
    let flags = message.header.flags;
    let mut link = LinkFacts {
        is_up: flags.contains(LinkFlags::Up),
        has_carrier: flags.contains(LinkFlags::LowerUp),
        ..LinkFacts::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Link(index) => link.link = Some(*index),
            LinkAttribute::LinkNetNsId(number) => link.link_namespace = Some(*number),
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::NumRxQueues(queues) => link.queues.0 = *queues,
            LinkAttribute::NumTxQueues(queues) => link.queues.1 = *queues,
            LinkAttribute::Xdp(facts) => link.program = attached(facts),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some((message.header.index, link))
}

fn attached(facts: &[LinkXdp]) -> Option<Attached> {
    let mode = facts.iter().find_map(|fact| match fact {
        LinkXdp::Attached(XdpAttached::Driver) => Some("native"),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some("generic"),
        LinkXdp::Attached(XdpAttached::Hardware) => Some("offloaded"),
        LinkXdp::Attached(XdpAttached::Multiple) => Some("several"),
        _ => None,
    })?;
    let id = facts.iter().find_map(|fact| match fact {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
            Some(*id)
        }
        _ => None,
    });
    Some(Attached { id: id.unwrap_or(0), mode })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_read_with_its_other_end_and_its_program() {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.header.flags = LinkFlags::Up;
        message.attributes = vec![
            LinkAttribute::IfName("eth0".into()),
            LinkAttribute::Mtu(1400),
            LinkAttribute::Link(3),
            LinkAttribute::LinkNetNsId(2),
            LinkAttribute::NumRxQueues(4),
            LinkAttribute::Xdp(vec![LinkXdp::Attached(XdpAttached::SocketBuffer), LinkXdp::ProgId(9)]),
        ];
        let (index, link) = decode(&message).unwrap();
        assert_eq!((index, link.is_up, link.has_carrier), (7, true, false));
        assert_eq!((link.link, link.link_namespace, link.queues), (Some(3), Some(2), (4, 0)));
        assert_eq!(link.program, Some(Attached { id: 9, mode: "generic" }));
        assert_eq!(attached(&[LinkXdp::Attached(XdpAttached::None)]), None);
    }

    #[tokio::test]
    async fn the_loopback_is_a_link_of_every_namespace() {
        let netlink = Netlink::open().unwrap();
        let links = netlink.links().await.unwrap();
        assert!(links.values().any(|link| link.name == "lo"));
        let own = File::open("/proc/thread-self/ns/net").unwrap();
        // Most namespaces have no number of their own.
        let _ = netlink.namespace_number(&own).await;
        assert_eq!(netlink.namespace_number(&File::open("/dev/null").unwrap()).await, None);
    }
}
