//! Follows the kernel's links, addresses, routes and neighbours over rtnetlink(7), and asks it to resolve neighbours.
//!
//! Two sockets. Notifications arrive at one and may overrun it; requests and dumps have the other, so that an overrun
//! never cuts a dump short. Subscribing comes before the first dump: a change during the dump is then seen twice rather
//! than never.

use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{Stream, TryStreamExt};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::AsyncSocket;
use rtnetlink::{Handle, MulticastGroup};
use tokio::task::AbortHandle;

use super::network::{NeighborChange, NetworkView};

mod decode;
pub mod links;

/// Bytes that wait in the socket while the control plane is busy: 2^20, some thousands of notifications.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// A dump that takes longer is given up: the socket is stuck.
const DUMP_LIMIT: Duration = Duration::from_secs(30);

const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// What went wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// No socket.
    #[error("cannot open a netlink socket: {0}")]
    Open(#[from] std::io::Error),
    /// The kernel refused.
    #[error("netlink: {0}")]
    Request(#[from] rtnetlink::Error),
    /// The kernel does not answer.
    #[error("netlink: no answer to a dump within {} s", DUMP_LIMIT.as_secs())]
    Silence,
}

/// What the kernel told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// One neighbour changed.
    Neighbor(NeighborChange),
    /// Links, addresses or routes changed: look again.
    Stale,
    /// Notifications were lost: open a new connection and read everything again.
    Lost,
}

/// A neighbour the kernel is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// On whose link it is.
    pub ifindex: u32,
    /// The neighbour.
    pub address: IpAddr,
}

type Messages = Pin<Box<dyn Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Send + Sync>>;

/// A connection to the kernel.
pub struct Netlink {
    requests: Handle,
    notifications: Messages,
    tasks: [AbortHandle; 2],
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Netlink {
    /// Subscribes, and opens the socket for requests. Within a Tokio runtime only.
    pub fn open() -> Result<Self, NetlinkError> {
        let (mut subscriber, _, notifications) = rtnetlink::new_multicast_connection(&GROUPS)?;
        subscriber.socket_mut().socket_mut().set_rx_buf_sz(RECEIVE_BUFFER_BYTES as libc::c_int)?;
        let (requester, requests, _) = rtnetlink::new_connection()?;
        let tasks = [tokio::spawn(subscriber).abort_handle(), tokio::spawn(requester).abort_handle()];
        let notifications = Box::pin(notifications.map(|(message, _)| message));
        Ok(Self { requests, notifications, tasks })
    }

    /// Reads everything.
    pub async fn dump(&self) -> Result<NetworkView, NetlinkError> {
        let mut view = NetworkView::default();
        self.dump_paths(&mut view).await?;
        let neighbors = self.requests.neighbours().get().execute();
        let neighbors: Vec<_> = collect(neighbors, |message| decode::neighbor(&message)).await?;
        for change in neighbors {
            view.apply(change);
        }
        Ok(view)
    }

    /// Reads links, addresses and routes again.
    pub async fn dump_paths(&self, view: &mut NetworkView) -> Result<(), NetlinkError> {
        let links = self.requests.link().get().execute();
        view.links = collect(links, |message| decode::link(&message)).await?;
        let addresses = self.requests.address().get().execute();
        view.addresses = collect(addresses, |message| decode::address(&message)).await?;
        view.routes.clear();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut query = RouteMessage::default();
            query.header.address_family = family;
            let routes = self.requests.route().get(query).execute();
            let routes: Vec<_> = collect(routes, |message| decode::route(&message)).await?;
            view.routes.extend(routes);
        }
        Ok(())
    }

    /// The next notification of interest. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Notice {
        while let Some(message) = self.notifications.next().await {
            match message.payload {
                NetlinkPayload::InnerMessage(message) => match decode::notification(&message) {
                    decode::Meaning::Neighbor(change) => return Notice::Neighbor(change),
                    decode::Meaning::Stale => return Notice::Stale,
                    decode::Meaning::Nothing => {}
                },
                NetlinkPayload::Overrun(_) => return Notice::Lost,
                _ => {}
            }
        }
        Notice::Lost
    }

    /// Asks the kernel to resolve a neighbour, or to probe one that is stale, as if a packet of its own went there.
    /// Does nothing to entries that are reachable, permanent or being resolved already.
    pub fn resolve(&self, target: Target) {
        let mut message = neighbor_message(target);
        message.header.flags = NeighbourFlags::Use;
        self.send(target, message, NLM_F_CREATE);
    }

    /// Tells the kernel a neighbour's MAC address, unless it has a better one: with `fresh` only if there is no entry
    /// at all, else only if the entry that is there is not valid (the kernel's rule for updates without
    /// `NLM_F_REPLACE`). A lesson may fall between the two, since the kernel does not tell of entries that it is still
    /// resolving: then it is about to find out by itself, and the neighbour's next request teaches it again.
    pub fn learn(&self, target: Target, mac: [u8; 6], fresh: bool) {
        let mut message = neighbor_message(target);
        message.header.state = NeighbourState::Stale;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        self.send(target, message, if fresh { NLM_F_CREATE | NLM_F_EXCL } else { NLM_F_CREATE });
    }

    /// Sends without waiting: what follows arrives as a notification.
    fn send(&self, target: Target, message: NeighbourMessage, flags: u16) {
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewNeighbour(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        let mut requests = self.requests.clone();
        tokio::spawn(async move {
            let Ok(mut answers) = requests.request(request) else { return };
            while let Some(answer) = answers.next().await {
                if let NetlinkPayload::Error(error) = answer.payload
                    && error.code.is_some()
                {
                    let (address, error) = (target.address, error.to_io());
                    tracing::debug!(%address, ifindex = target.ifindex, %error, "the kernel did not take a neighbour request");
                }
            }
        });
    }
}

fn neighbor_message(target: Target) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    let (family, address) = match target.address {
        IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
    };
    message.header.family = family;
    message.header.ifindex = target.ifindex;
    message.attributes.push(NeighbourAttribute::Destination(address));
    message
}

async fn collect<M, V, C>(
    messages: impl Stream<Item = Result<M, rtnetlink::Error>>,
    decode: impl Fn(M) -> Option<V>,
) -> Result<C, NetlinkError>
where
    C: Default + Extend<V>,
{
    let mut collected = C::default();
    let all = async {
        futures_util::pin_mut!(messages);
        while let Some(message) = messages.try_next().await? {
            collected.extend(decode(message));
        }
        Ok::<(), NetlinkError>(())
    };
    tokio::time::timeout(DUMP_LIMIT, all).await.map_err(|_| NetlinkError::Silence)??;
    Ok(collected)
}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Netlink")
    }
}
