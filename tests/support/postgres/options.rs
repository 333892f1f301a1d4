//! What a private server is told.

/// Empty: as the shared one, with `fsync` on.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names and values of `postgresql.conf`. They beat those of the harness, but for address, port and directories.
    pub settings: Vec<(&'static str, String)>,
    pub disk: Option<Disk>,
}

/// A file system of the server's own, of so many bytes, to be filled. A fresh server takes some 40 MB of it, 16 MB of them
/// for the log. Only root may mount one.
#[derive(Clone, Copy, Debug)]
pub enum Disk {
    /// Where it is full the server goes down, and needs room to come back.
    Everything(u64),
    /// Without the log: where it is full, statements that need room fail.
    Tables(u64),
}

impl Disk {
    pub fn bytes(self) -> u64 {
        match self {
            Self::Everything(bytes) | Self::Tables(bytes) => bytes,
        }
    }
}
