//! Lists of JSON over HTTP, declared instead of coded: where the items are, what their id is, how pages
//! follow each other, and what a request says of what is already known.
//!
//! [`JsonOptions`] is the declaration, [`JsonOptions::request`] gives the address of a page, and
//! [`JsonOptions::read`] reads one. What does not fit is one typed [`ItemsError`] that says what was
//! expected and found; an item that does not fit costs no other.
//!
//! It does no I/O and keeps no state: which page is next and what the cursor is belong to the
//! [`poller`](crate::poller).

mod error;
mod options;
mod page;
mod path;
#[cfg(test)]
mod tests;

pub use error::{ItemsError, kind_of};
pub use options::{JsonOptions, Paginate};
pub(crate) use page::greater;
pub use page::{BODY_BYTES_MAX, ITEM_BYTES_MAX, PAGE_ITEMS_MAX};
pub use page::{BadItem, JsonItem, Page, PageRef};
pub use path::Path;
