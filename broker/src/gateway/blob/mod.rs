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
mod range;
mod upload;

use schemars::JsonSchema;
use serde::Deserialize;
use trunkline_contract::error::Code;
use trunkline_contract::rpc::{BlobFinishResult, BlobPutParams, BlobPutResult};

use super::api::{Operation, Place};

/// Media type of content in general.
const OCTETS: &str = "application/octet-stream";

/// The blob that is meant.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "it is read by name; this describes it")]
struct BlobPath {
    /// `sha256:` and 64 lower case hex digits.
    id: String,
}

/// The upload that is meant.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "it is read by name; this describes it")]
struct UploadPath {
    /// As the announcement was answered.
    upload: String,
}

/// Lists what is asked here.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("POST", "/v1/blobs", upload::announce)
            .named("blobs", "announceBlob", "Announces content too large for an event.")
            .scope("blob")
            .body::<BlobPutParams>()
            .answer_as::<BlobPutResult>(201, "application/json", "Where it goes.")
            .errors(&[
                Code::InvalidArguments,
                Code::QuotaExceeded,
                Code::StorageFull,
            ])
            .refusal(415, "the body is no JSON"),
        Operation::new("GET", "/v1/blobs/uploads/{upload}", upload::tell)
            .named(
                "blobs",
                "getUpload",
                "Tells how much of an upload is there, in the header Upload-Offset; HEAD does as well.",
            )
            .scope("the token of the upload")
            .params::<UploadPath>(Place::Path)
            .answer_empty(200, "How much is there.")
            .errors(&[Code::NotFound, Code::Unavailable]),
        Operation::new("PUT", "/v1/blobs/uploads/{upload}", upload::bring)
            .named(
                "blobs",
                "putUpload",
                "Brings content, or with a Content-Range the rest of it.",
            )
            .scope("the token of the upload")
            .params::<UploadPath>(Place::Path)
            .body_as::<Vec<u8>>(OCTETS)
            .answer_empty(204, "It is there.")
            .errors(&[Code::InvalidArguments, Code::NotFound, Code::StorageFull])
            .refusal(408, "the content stopped coming")
            .refusal(409, "the content there ends elsewhere, or somebody else is at work on it")
            .refusal(413, "there is more than was announced"),
        Operation::new("POST", "/v1/blobs/uploads/{upload}/finish", upload::finish)
            .named("blobs", "finishUpload", "Has content checked and kept.")
            .scope("blob")
            .params::<UploadPath>(Place::Path)
            .body::<upload::FinishBody>()
            .answer::<BlobFinishResult>("Its name.")
            .errors(&[
                Code::InvalidArguments,
                Code::NotFound,
                Code::QuotaExceeded,
                Code::StorageFull,
                Code::Unavailable,
            ])
            .refusal(415, "the body is no JSON"),
        Operation::new("GET", "/v1/blobs/{id}", fetch::fetch)
            .named("blobs", "getBlob", "Reads content, or a range of it.")
            .scope("blob")
            .params::<BlobPath>(Place::Path)
            .answer_as::<Vec<u8>>(200, OCTETS, "All of it.")
            .answer_as::<Vec<u8>>(206, OCTETS, "A range of it.")
            .answer_empty(304, "It is what the caller has.")
            .errors(&[Code::InvalidArguments, Code::NotFound])
            .refusal(416, "the range is beyond its end"),
    ]
}
