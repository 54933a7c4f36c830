//! The runtime against a scripted broker at the other end of a socket pair.

mod blob;
mod client;
#[cfg(feature = "testing")]
mod http;
#[cfg(feature = "testing")]
mod http_live;
mod lifecycle;
mod low_level;
mod peer;
mod settlement;
mod tool_schemas;
mod tools;
#[cfg(feature = "testing")]
mod tools_live;
#[cfg(all(feature = "testing", feature = "host"))]
mod websocket;
