//! Writes messages, one line each.
//!
//! A raw value that came from elsewhere may hold line breaks between its tokens; they are written
//! as blanks, because a frame is one line.

use serde::Serialize;
use serde_json::value::RawValue;

use super::message::RpcError;
use crate::error::Error;

/// Appends a request and its newline.
///
/// # Panics
/// If `params` has no JSON form (a map whose keys are no text); values of users go through
/// [`raw`](super::raw) first.
///
/// ```
/// let mut out = Vec::new();
/// trunkline_contract::rpc::write_request(&mut out, 1, "ping", &serde_json::json!({}));
/// assert_eq!(out, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{}}\n");
/// ```
pub fn write_request<P: Serialize + ?Sized>(out: &mut Vec<u8>, id: u64, method: &str, params: &P) {
    line(out, |out| {
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        json(out, &id);
        out.extend_from_slice(b",\"method\":");
        json(out, method);
        out.extend_from_slice(b",\"params\":");
        json(out, params);
    });
}

/// Appends a notification and its newline.
///
/// # Panics
/// If `params` has no JSON form.
pub fn write_notification<P: Serialize + ?Sized>(out: &mut Vec<u8>, method: &str, params: &P) {
    line(out, |out| {
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":");
        json(out, method);
        out.extend_from_slice(b",\"params\":");
        json(out, params);
    });
}

/// Appends the answer to request `id` and its newline.
///
/// # Panics
/// If `result` has no JSON form.
pub fn write_result<R: Serialize + ?Sized>(out: &mut Vec<u8>, id: &RawValue, result: &R) {
    line(out, |out| {
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        out.extend_from_slice(id.get().as_bytes());
        out.extend_from_slice(b",\"result\":");
        json(out, result);
    });
}

/// Appends the refusal of request `id`, or with `None` of a frame that could not be read.
pub fn write_error(out: &mut Vec<u8>, id: Option<&RawValue>, error: &Error) {
    write_rpc_error(out, id, &error.to_rpc());
}

/// Appends a refusal whose JSON-RPC number is chosen by the caller.
///
/// ```
/// use trunkline_contract::rpc::{parse, write_rpc_error};
/// let mut out = Vec::new();
/// let fault = parse(b"not json").unwrap_err();
/// write_rpc_error(&mut out, None, &fault.to_rpc());
/// assert!(out.starts_with(b"{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700,"));
/// ```
pub fn write_rpc_error(out: &mut Vec<u8>, id: Option<&RawValue>, error: &RpcError) {
    line(out, |out| {
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        out.extend_from_slice(id.map_or("null", RawValue::get).as_bytes());
        out.extend_from_slice(b",\"error\":");
        json(out, error);
    });
}

fn line(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    keep_one_line(&mut out[start..]);
    out.extend_from_slice(b"}\n");
}

/// Turns line breaks, which valid JSON has only between its tokens, into blanks.
pub(crate) fn keep_one_line(text: &mut [u8]) {
    let mut from = 0;
    while let Some(offset) = memchr::memchr2(b'\n', b'\r', &text[from..]) {
        text[from + offset] = b' ';
        from += offset + 1;
    }
}

fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value)
        .expect("contract types have a JSON form, memory does not fail");
}
