//! The live wire from outside: a real pipeline over a database of its own, and real WebSockets.

#[path = "ws/client.rs"]
mod client;
#[path = "ws/limits.rs"]
mod limits;
#[path = "ws/telling.rs"]
mod telling;
#[path = "ws/who.rs"]
mod who;

#[allow(dead_code)]
#[path = "web/support.rs"]
mod support;
