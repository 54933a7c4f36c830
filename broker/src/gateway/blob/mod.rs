//! `/v1/blobs`: content too large for an event, for peers that share no files with the daemon.
//!
//! | path | what | token |
//! |---|---|---|
//! | `POST /v1/blobs` | announces content: as `blob.put` | the client's |
//! | `PUT /v1/blobs/uploads/<upload>` | brings content, or the rest of it | the upload's |
//! | `HEAD /v1/blobs/uploads/<upload>` | tells how much is there | the upload's |
//! | `POST /v1/blobs/uploads/<upload>/finish` | ends it: as `blob.finish` | the client's |
//! | `GET /v1/blobs/<id>` | reads content, or a range of it | that of `blob.get`, or the client's |
//!
//! Content goes from the socket to the file and back piece by piece; who may do what, and how long, is the
//! core's to say.

mod fetch;
mod operations;
mod range;
mod upload;

pub(super) use operations::operations;

/// Media type of content in general.
const OCTETS: &str = "application/octet-stream";
