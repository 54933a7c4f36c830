//! The operations of `/v1/blobs`.

use schemars::JsonSchema;
use serde::Deserialize;
use trunkline_contract::error::Code;
use trunkline_contract::rpc::{BlobFinishResult, BlobPutParams, BlobPutResult};

use super::super::api::{Operation, Place};

/// The blob that is meant.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "it is read by name; this describes it")]
struct BlobPath {
    /// `sha256:` and 64 lower case hex digits.
    #[schemars(regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
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
pub(in crate::gateway) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("POST", "/v1/blobs", super::upload::announce)
            .named("blobs", "announceBlob", "Announces content too large for an event.")
            .scope("blob")
            .body::<BlobPutParams>()
            .answer_as::<BlobPutResult>(201, "application/json", "Where it goes.")
            .errors(&[
                Code::InvalidArguments,
                Code::QuotaExceeded,
                Code::StorageFull,
            ])
            .refusal(409, "`quota_exceeded`: it is more than the caller may keep")
            .refusal(415, "the body is no JSON"),
        Operation::new("GET", "/v1/blobs/uploads/{upload}", super::upload::tell)
            .named(
                "blobs",
                "getUpload",
                "Tells how much of an upload is there, in the header Upload-Offset; HEAD does as well.",
            )
            .scope("the token of the upload")
            .params::<UploadPath>(Place::Path)
            .answer_empty(200, "How much is there.")
            .errors(&[Code::NotFound, Code::Unavailable]),
        Operation::new("PUT", "/v1/blobs/uploads/{upload}", super::upload::bring)
            .named(
                "blobs",
                "putUpload",
                "Brings content, or with a Content-Range the rest of it.",
            )
            .scope("the token of the upload")
            .params::<UploadPath>(Place::Path)
            .body_as::<Vec<u8>>(super::OCTETS)
            .answer_empty(204, "It is there.")
            .errors(&[Code::InvalidArguments, Code::NotFound, Code::StorageFull])
            .refusal(408, "the content stopped coming")
            .refusal(409, "the content there ends elsewhere, or somebody else is at work on it")
            .refusal(413, "there is more than was announced"),
        Operation::new("POST", "/v1/blobs/uploads/{upload}/finish", super::upload::finish)
            .named("blobs", "finishUpload", "Has content checked and kept.")
            .scope("blob")
            .params::<UploadPath>(Place::Path)
            .body::<super::upload::FinishBody>()
            .answer::<BlobFinishResult>("Its name.")
            .errors(&[
                Code::InvalidArguments,
                Code::NotFound,
                Code::QuotaExceeded,
                Code::StorageFull,
                Code::Unavailable,
            ])
            .refusal(409, "the content is not what was announced, or its digest is another")
            .refusal(415, "the body is no JSON"),
        Operation::new("GET", "/v1/blobs/{id}", super::fetch::fetch)
            .named("blobs", "getBlob", "Reads content, or a range of it.")
            .scope("blob")
            .params::<BlobPath>(Place::Path)
            .answer_as::<Vec<u8>>(200, super::OCTETS, "All of it.")
            .answer_as::<Vec<u8>>(206, super::OCTETS, "A range of it.")
            .answer_empty(304, "It is what the caller has.")
            .errors(&[Code::InvalidArguments, Code::NotFound])
            .refusal(416, "the range is beyond its end"),
    ]
}
