//! Ports for servers that come and go.

use std::net::{Ipv4Addr, TcpListener};

/// One that the system does not give to outgoing connections, so that it is still there when a server comes back to
/// it.
pub fn free_port() -> u16 {
    loop {
        let port = 15_000 + (getrandom::u32().unwrap() % 17_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
