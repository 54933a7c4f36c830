//! Schemas that types say, in one form: the same tool has the same schema in every language.
//!
//! Each generator of schemas has its own habits: titles, named parts, words for whole numbers. What
//! one of them says goes through here, and comes out
//!
//! - without what a type's name says: `$schema`, `$id`, `title`, formats of machine numbers;
//! - without references, other than to what contains itself: `#`, `#/$defs/s1` and so on;
//! - with one word for each thing: alternatives are `anyOf`, null last; one word is `const`;
//!   everything is `{}`; what is left out means null;
//! - in one order: keywords as here, properties as the author has them, `required` as properties.
//!
//! An output is open: `additionalProperties: false` and `default` say nothing of what is given.
//!
//! A schema that an author wrote by hand does not pass here: it is declared as it was written.

mod form;
mod normal;
mod refs;

#[cfg(feature = "host")]
pub(crate) use normal::derived;
pub(crate) use normal::{Derived, Side, of_type};
