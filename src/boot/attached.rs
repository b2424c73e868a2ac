//! One interface, as far as the switch has hold of it.

use super::{BootError, rings};
use crate::sys::napi::Deferral;
use crate::xsk::{AttachMode, Steer};

/// One interface, as far as it is attached.
#[derive(Debug, Default)]
pub(super) struct Attached {
    /// Its program, while it is attached.
    pub steer: Option<Steer>,
    /// The same while it is not: programs are loaded once, by whoever still may.
    spare: Option<Steer>,
    pub xdp_mode: Option<AttachMode>,
    /// By queue: the socket and how it copies.
    pub sockets: Vec<rings::Socket>,
    pub link: Link,
    /// While workers poll the driver.
    pub deferral: Option<Deferral>,
}

/// State of an interface, for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Link {
    #[default]
    Gone,
    Down,
    Up,
}

impl Link {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Down => "down",
            Self::Up => "up",
        }
    }
}

impl Attached {
    /// An interface that is not attached yet, with a loaded program for it.
    pub fn with(spare: Steer) -> Self {
        Self { spare: Some(spare), ..Self::default() }
    }

    /// Nothing of it is left but the program, for the interface may come back.
    pub fn let_go(&mut self) {
        let mut spare = self.steer.take().or(self.spare.take());
        if let Some(steer) = &mut spare {
            steer.detach();
        }
        *self = Self { spare, ..Self::default() };
    }

    /// The program, for attaching it.
    pub fn take_up(&mut self) -> Option<&mut Steer> {
        if self.steer.is_none() {
            self.steer = self.spare.take();
        }
        self.steer.as_mut()
    }

    /// The program sends no more frames to the sockets: the kernel gets what comes, and it is counted.
    pub fn disconnect(&mut self) {
        if let Some(steer) = &mut self.steer {
            steer.unset_sockets();
        }
    }

    /// Puts the workers' sockets into the program's map.
    pub fn connect(&mut self) -> Result<(), BootError> {
        if let Some(steer) = &mut self.steer {
            for (queue, (socket, _)) in self.sockets.iter().enumerate() {
                steer.set_socket(queue as u32, *socket)?;
            }
        }
        Ok(())
    }
}
