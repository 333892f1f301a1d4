//! A file as a stream of bytes with places in it; of a compressed one, of what it holds.
//!
//! Invariants: a place means the same bytes whether the file is compressed or not, so that one that is read in part goes on where it
//! was when it comes back compressed. How it fails: a compressed file that is not whole yet ends early and says so.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::unix::fs::FileExt;

use flate2::read::MultiGzDecoder;

pub(super) enum Stream {
    Plain(File),
    Gzip {
        file: File,
        decoder: Option<Box<MultiGzDecoder<BufReader<File>>>>,
        /// Where the decoder is.
        at: u64,
    },
}

/// Bytes that were read.
pub(super) struct Chunk {
    pub bytes: Vec<u8>,
    /// There will be nothing after them: only of a compressed file is that known.
    pub last: bool,
}

impl Stream {
    pub fn open(file: File, compressed: bool) -> Self {
        match compressed {
            false => Stream::Plain(file),
            true => Stream::Gzip {
                file,
                decoder: None,
                at: 0,
            },
        }
    }

    pub fn file(&self) -> &File {
        match self {
            Stream::Plain(file) | Stream::Gzip { file, .. } => file,
        }
    }

    /// At most `count` bytes from `offset` on, fewer at the end.
    pub fn read(&mut self, offset: u64, count: usize) -> io::Result<Chunk> {
        match self {
            Stream::Plain(file) => {
                let mut bytes = vec![0; count];
                let mut length = 0;
                while length < count {
                    match file.read_at(&mut bytes[length..], offset + length as u64) {
                        Ok(0) => break,
                        Ok(more) => length += more,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                    }
                }
                bytes.truncate(length);
                Ok(Chunk { bytes, last: false })
            }
            Stream::Gzip { file, decoder, at } => {
                let chunk = unpack(file, decoder, at, offset, count);
                if chunk
                    .as_ref()
                    .map_or(true, |chunk| chunk.bytes.len() < count && !chunk.last)
                {
                    // What is missing may come, and a decoder that has failed does not go on.
                    *decoder = None;
                }
                chunk
            }
        }
    }
}

fn unpack(
    file: &File,
    decoder: &mut Option<Box<MultiGzDecoder<BufReader<File>>>>,
    at: &mut u64,
    offset: u64,
    count: usize,
) -> io::Result<Chunk> {
    if *at > offset {
        *decoder = None;
    }
    let decoder = match decoder {
        Some(decoder) => decoder,
        None => {
            let mut file = file.try_clone()?;
            file.rewind()?;
            *at = 0;
            decoder.insert(Box::new(MultiGzDecoder::new(BufReader::with_capacity(
                64 << 10,
                file,
            ))))
        }
    };
    let early = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Ok(false),
        _ => Err(error),
    };
    let mut bytes = Vec::new();
    let skip = offset - *at;
    match io::copy(&mut decoder.by_ref().take(skip), &mut io::sink()) {
        Ok(length) if length == skip => *at = offset,
        Ok(length) => {
            *at += length;
            return Ok(Chunk { bytes, last: true });
        }
        Err(error) => {
            let last = early(error)?;
            return Ok(Chunk { bytes, last });
        }
    }
    let read = decoder.by_ref().take(count as u64).read_to_end(&mut bytes);
    *at += bytes.len() as u64;
    let last = match read {
        Ok(length) => length < count,
        Err(error) => early(error)?,
    };
    Ok(Chunk { bytes, last })
}
