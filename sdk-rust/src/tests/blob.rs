//! Blobs, over the broker of tests.

use std::io::Read;

use serde_json::json;

use crate::testing::TestBroker;
use crate::{BlobSource, Code, Context, Json, On, Plugin, Result};

/// Reads the photo it is told of.
async fn look(photo: Json, ctx: Context) -> Result<()> {
    let id = photo["photo"].as_str().unwrap_or_default().to_owned();
    let content = ctx.blob().get(&id).await?;
    let seen = json!({ "bytes": content.len() });
    ctx.publish("agent.seen", seen).await?;
    Ok(())
}

fn plugin() -> Plugin {
    Plugin::new("album").on(On::new("agent.photos", look))
}

/// Proves W17: what is large passes by reference; the event has its name and nothing of its content.
#[tokio::test]
async fn a_blob_is_put_named_and_read_by_whom_the_event_reaches() {
    let broker = TestBroker::start(plugin()).await;
    let client = broker.client();
    let content = vec![7u8; 3 << 20];
    let photo = client
        .blob()
        .put(content.clone())
        .media_type("image/jpeg")
        .await
        .unwrap();
    assert_eq!(photo.bytes, 3 << 20);
    assert_eq!(client.blob().stat(&photo.id).await.unwrap(), photo);
    let event = json!({ "photo": photo.id });
    let publish = client.publish("agent.photos", event).blob(&photo);
    publish.await.unwrap();
    broker
        .expect_published("agent.seen", json!({ "bytes": 3 << 20 }), "5s")
        .await;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("photo.jpg");
    client.blob().save(&photo.id, &path).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), content);
    let again = client.blob().put(&path).await.unwrap();
    assert_eq!(again.id, photo.id);
    assert_eq!(again.media_type.as_deref(), Some("image/jpeg"));
    let mut open = client.blob().open(&photo.id).await.unwrap();
    let mut first = [0; 4];
    open.read_exact(&mut first).unwrap();
    assert_eq!((first, open.size()), ([7; 4], 3 << 20));
}

#[tokio::test]
async fn a_reader_that_gives_something_else_than_it_said_is_refused() {
    let broker = TestBroker::start(plugin()).await;
    let client = broker.client();
    let short = BlobSource::reader(&b"abc"[..], 4);
    let error = client.blob().put(short).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArguments);
    let exact = BlobSource::reader(&b"abc"[..], 3);
    let blob = client.blob().put(exact).await.unwrap();
    assert_eq!(client.blob().get(&blob.id).await.unwrap(), b"abc");
    let unknown = format!("sha256:{}", "0".repeat(64));
    let error = client.blob().get(&unknown).await.unwrap_err();
    assert_eq!(error.code, Code::NotFound);
}

#[tokio::test]
async fn the_blobs_of_a_messages_parts_are_named_by_themselves() {
    let broker = TestBroker::start(plugin()).await;
    let photo = broker.client().blob().put(b"GIF89a").await.unwrap();
    let parts = json!([{ "type": "image", "blob": photo.id }, { "type": "image", "blob": "x" }]);
    let message = json!({ "text": "look", "parts": parts });
    let topic = "plugin.inbound.album.default";
    broker.publish(topic, message).await.unwrap();
    let event = broker.expect_published(topic, json!({}), "1s").await;
    assert_eq!(event.blobs, [photo.id]);
}
