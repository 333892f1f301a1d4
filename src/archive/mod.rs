//! The cold archive: each day of readings past an age becomes Parquet objects on a disk or in an S3 bucket.
//!
//! | file | what |
//! | --- | --- |
//! | `objects` | the place where objects lie |
//! | `parquet` | rows to an object's bytes, and back |
//! | `checksum` | of rows, whatever their order |
//! | `archiver` | what maintenance does: export, verify, drop |
//! | `restore` | the way back |
//! | `status` | figures, and what went wrong last |
//!
//! Invariants: no reading is dropped before the object that holds it was read back whole and held what the database held,
//! and the database was seen to hold nothing else of that day. An object is small enough to lie in memory as a whole;
//! nothing here grows with the length of a day. What was interrupted begins anew or goes on from the catalog.
//!
//! How it fails: an error ends the run; nothing is dropped by it; the next run does its work.

mod archiver;
mod checksum;
mod error;
mod objects;
mod parquet;
pub mod restore;
mod status;

pub use archiver::{Archiver, Limits};
pub use checksum::{RowHasher, SeriesHash};
pub use error::ArchiveError;
pub use objects::{Location, Objects, S3Location};
pub use parquet::{Object, ObjectWriter, Rows, Sizes, Survey};
pub use status::{ArchiveStatus, Trouble};
