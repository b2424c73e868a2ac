//! Interfaces come and go: what the data plane is told of it.

use std::time::Instant;

use super::{Follower, RETRY};
use crate::control::topology::Port;

impl Follower {
    /// Tells the data plane what became of the interfaces since it was last told.
    pub(super) async fn tell_interfaces(&mut self) {
        self.retry_interfaces = Instant::now() + RETRY;
        for position in 0..self.told.len() {
            let Some(port) = self.state.topology.ports.get(position).cloned() else { continue };
            let (told_index, _) = self.told[position];
            if told_index != port.ifindex {
                self.tell_presence(position, told_index, &port).await;
            }
            let (open, told_up) = self.told[position];
            if open.is_some() && told_up != port.up {
                self.told[position].1 = port.up;
                tracing::info!(interface = port.interface.name, up = port.up, "link changed");
                let id = port.interface.id;
                self.on_dataplane(move |dataplane| dataplane.interface_link(id, port.up)).await;
            }
        }
    }

    /// An interface of the same name with another index is another interface: the old rings are dead.
    async fn tell_presence(&mut self, position: usize, told_index: Option<u32>, port: &Port) {
        let (id, name) = (port.interface.id, &port.interface.name);
        if told_index.is_some() {
            tracing::warn!(interface = name, "interface is gone");
            self.on_dataplane(move |dataplane| dataplane.interface_gone(id)).await;
            self.told[position] = (None, false);
        }
        if port.ifindex.is_none() {
            return;
        }
        let steering = self.state.steering.clone();
        match self.on_dataplane(move |dataplane| dataplane.interface_appeared(id, &steering)).await {
            Some(Ok(())) => {
                tracing::info!(interface = name, "interface is here");
                self.told[position] = (port.ifindex, true);
            }
            Some(Err(error)) => tracing::warn!(interface = name, error, "interface cannot be used yet"),
            None => {}
        }
    }
}
