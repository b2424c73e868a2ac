//! What can go wrong, and what to do about it.

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for cannot be.
    #[error("{0}")]
    Input(String),
    /// It went wrong.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    /// Whether the command line is to blame.
    pub const fn is_input(&self) -> bool {
        matches!(self, Self::Input(_))
    }

    /// `what`, and the error with all that it came from.
    pub(super) fn from_source(what: &str, error: &dyn std::error::Error) -> Self {
        let mut text = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(inner) = source {
            text.push_str(&format!(": {inner}"));
            source = inner.source();
        }
        if text.contains("(os error 1)") || text.contains("(os error 13)") {
            text.push_str("; root is needed, or CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF");
        }
        Self::Failed(text)
    }
}

/// The number with which the kernel failed, if it was the kernel.
pub(super) fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut error = Some(error);
    while let Some(one) = error {
        if let Some(io) = one.downcast_ref::<std::io::Error>() {
            return io.raw_os_error();
        }
        error = one.source();
    }
    None
}
