//! Recovery: what a manifest says of a folder, made true.
//!
//! Everything behind the manifest is in the commit log and will be staged again: files that it does not name are
//! removed, and what lies behind its end of the growing segment is zeroed. Sealed segments are not touched, whatever
//! their state: they are opened when they are read.
//!
//! With [`SegmentOptions::keep_found`] nothing is removed or zeroed, and what is replayed goes into new segments.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, is_too_many_open};
use crate::names::Offset;
use crate::partition::active::Active;
use crate::partition::manifest::PartitionManifest;
use crate::partition::{Closing, PartitionLog, published};
use crate::segment::{
    Home, KEPT_SUFFIX, PartitionIdentity, Segment, SegmentError, SegmentOptions, names_of,
    segment_name,
};

impl PartitionLog {
    /// The partition as of `manifest`.
    ///
    /// # Errors
    /// [`SegmentError::Io`] when the folder cannot be read or cleaned. Segments that are missing or damaged are no
    /// error here: see [`missing`](Self::missing) and [`ReadError`](crate::segment::ReadError).
    pub fn recover(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        identity: PartitionIdentity,
        options: SegmentOptions,
        manifest: &PartitionManifest,
    ) -> Result<Self, SegmentError> {
        let home = Self::home(disk, dir, identity, options)?;
        let mut manifest = manifest.clone();
        manifest.segments.sort_by_key(|segment| segment.base);
        let names = match home.disk.list(&home.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed.map_err(|e| SegmentError::Io { file: home.dir.clone(), source: e })?,
        };
        let there: HashSet<&str> = names.iter().map(String::as_str).collect();
        // An empty segment without its file is none.
        manifest
            .segments
            .retain(|meta| meta.next > meta.base || there.contains(&*segment_name(meta.base)));
        if !home.options.keep_found {
            remove_unnamed(&home, &names, &manifest)?;
        }

        let segments: Vec<_> = manifest
            .segments
            .iter()
            .map(|meta| {
                let segment = Segment::recovered(&home, meta.base, published(meta));
                if !there.contains(&*segment_name(meta.base)) {
                    segment.set_absent();
                }
                Arc::new(segment)
            })
            .collect();
        let mut log = Self::over(home, manifest, segments);
        log.resume()?;
        Ok(log)
    }

    /// Goes on with the last segment, if it can; other unfinished ones are sealed.
    fn resume(&mut self) -> Result<(), SegmentError> {
        let Some(last) = self.manifest.segments.len().checked_sub(1) else { return Ok(()) };
        if self.home.options.keep_found {
            self.drop_empty_last(last);
            return Ok(());
        }
        for (at, meta) in self.manifest.segments.iter().enumerate() {
            let segment = &self.segments[at];
            if meta.sealed || segment.is_absent() {
                continue;
            }
            if at == last {
                self.active = reopen(&self.home, segment)?;
            }
            if self.active.is_none() {
                segment.growth.close();
                let (segment, end) = (segment.clone(), meta.bytes);
                self.closing.push(Closing { segment, file: None, end });
            }
        }
        self.drop_empty_last(last);
        Ok(())
    }

    /// An empty segment that cannot go on would stand in the way of the next one, which has the same name.
    fn drop_empty_last(&mut self, last: usize) {
        let meta = &self.manifest.segments[last];
        if self.active.is_none() && meta.next == meta.base {
            self.manifest.segments.pop();
            self.closing.retain(|closing| !Arc::ptr_eq(&closing.segment, &self.segments[last]));
            self.segments.pop();
            self.shared.set_segments(self.segments.clone());
            self.recount_bytes();
        }
    }
}

/// The writer's side of the last segment; `None` when its file cannot be written on.
fn reopen(home: &Arc<Home>, segment: &Arc<Segment>) -> Result<Option<Active>, SegmentError> {
    let fail = |e| SegmentError::Io { file: segment.path.clone(), source: e };
    let file = match home.disk.open(&segment.path) {
        Ok(file) => file,
        // The next batch asks for a new segment, or is refused; and this one is sealed when there are fewer files.
        Err(e) if is_too_many_open(&e) => return Ok(None),
        Err(e) => return Err(fail(e)),
    };
    let (end, len) = (segment.published().end, file.len().map_err(fail)?);
    if len < end {
        return Ok(None);
    }
    let range = home.options.range_bytes().max(len);
    let content = match segment.open_content(file.as_ref(), Some(range)) {
        Ok(content) if content.rewritten.is_none() => content,
        Err(crate::segment::ReadError::Io { source, .. }) if is_too_many_open(&source) => {
            return Ok(None);
        }
        Err(crate::segment::ReadError::Io { file, source }) => {
            return Err(SegmentError::Io { file, source });
        }
        // A damaged header, or a file that was rewritten after the manifest was made: readable, as far as it goes.
        Ok(_) | Err(_) => return Ok(None),
    };
    if end < content.data_start && segment.published().next == segment.base {
        return Ok(None);
    }
    match file.zero(end..len) {
        Ok(()) => {}
        // What was given back at sealing cannot be had again: the next batch asks for a new segment, or is refused.
        Err(e) if e.kind() == io::ErrorKind::StorageFull => return Ok(None),
        Err(e) => return Err(fail(e)),
    }
    let epoch = content.epoch;
    segment.set_content(content);
    Ok(Some(Active::reopen(segment.clone(), file, epoch, range, len)))
}

/// Removes segments, indexes and key tables that the manifest does not know in that form, and what compaction left unfinished.
fn remove_unnamed(
    home: &Home,
    names: &[String],
    manifest: &PartitionManifest,
) -> Result<(), SegmentError> {
    let segment = |base: Offset| {
        let at = manifest.segments.binary_search_by_key(&base, |meta| meta.base).ok()?;
        Some(&manifest.segments[at])
    };
    for name in names {
        let Some((base, kind)) = parse_name(name) else { continue };
        let known = match kind {
            NameKind::Segment => segment(base).is_some(),
            NameKind::Derived => segment(base).is_some_and(|meta| meta.sealed),
            NameKind::Unfinished | NameKind::Kept => false,
        };
        if !known {
            let path = home.dir.join(name);
            home.disk.remove(&path).map_err(|source| SegmentError::Io { file: path, source })?;
        }
    }
    Ok(())
}

enum NameKind {
    Segment,
    /// An index or a key table. Of a segment that may still change it proves nothing.
    Derived,
    Unfinished,
    /// Moved out of the way while everything found was kept.
    Kept,
}

/// Strangers are left alone.
fn parse_name(name: &str) -> Option<(Offset, NameKind)> {
    let (name, kept) = match name.strip_suffix(KEPT_SUFFIX) {
        Some(name) => (name, true),
        None => (name, false),
    };
    let (name, unfinished) = match name.strip_suffix(".tmp") {
        Some(name) => (name, true),
        None => (name, false),
    };
    let (digits, extension) = name.split_once('.')?;
    let base = Offset(digits.parse().ok()?);
    let kind = match extension {
        _ if kept => NameKind::Kept,
        _ if unfinished => NameKind::Unfinished,
        "seg" => NameKind::Segment,
        "idx" | "keys" => NameKind::Derived,
        _ => return None,
    };
    names_of(base).iter().any(|known| known == name).then_some((base, kind))
}
