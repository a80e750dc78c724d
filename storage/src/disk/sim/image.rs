//! The bytes of one simulated file: what a reader sees, and what a power loss would leave of it.
//!
//! A page is 4 KiB, kept only where it was written (the rest reads as zeroes), and shared between the two images
//! until one of them changes. Pages that changed since the last sync are *dirty*. The kernel may write any of them
//! back at any time, so a page that is rewritten may have reached the disk in its earlier shape.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::random::SeededEntropy;
use crate::disk::BLOCK_BYTES;
use crate::names::Entropy;

pub(super) const PAGE_BYTES: u64 = BLOCK_BYTES;
const PAGE_LEN: usize = 4_096;
/// What a device writes whole or not at all.
const SECTOR_LEN: usize = 512;

type Page = [u8; PAGE_LEN];
const ZERO_PAGE: &Page = &[0; PAGE_LEN];

/// Contents and length of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pages: BTreeMap<u64, Arc<Page>>,
    len: u64,
}

impl Image {
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    fn page(&self, number: u64) -> &Page {
        self.pages.get(&number).map_or(ZERO_PAGE, |page| page)
    }

    /// Fills `buffer` from `position` on, and says how much of it lies in the file.
    pub(super) fn read(&self, position: u64, buffer: &mut [u8]) -> usize {
        let rest = usize::try_from(self.len.saturating_sub(position)).unwrap_or(usize::MAX);
        let count = buffer.len().min(rest);
        let mut done = 0;
        for (number, part) in pages_of(position..position + count as u64) {
            buffer[done..done + part.len()].copy_from_slice(&self.page(number)[part.clone()]);
            done += part.len();
        }
        count
    }

    fn write(&mut self, position: u64, bytes: &[u8]) {
        let mut done = 0;
        for (number, part) in pages_of(position..position + bytes.len() as u64) {
            let page = self.pages.entry(number).or_insert_with(|| Arc::new(*ZERO_PAGE));
            let piece = &bytes[done..done + part.len()];
            done += part.len();
            Arc::make_mut(page)[part].copy_from_slice(piece);
        }
        self.len = self.len.max(position + bytes.len() as u64);
    }

    fn zero(&mut self, range: Range<u64>) {
        for (number, part) in pages_of(range) {
            if part.len() == PAGE_LEN {
                self.pages.remove(&number);
            } else if let Some(page) = self.pages.get_mut(&number) {
                Arc::make_mut(page)[part].fill(0);
            }
        }
    }

    /// Takes over page `number` of `other`.
    fn take_page(&mut self, number: u64, other: &Self) {
        match other.pages.get(&number) {
            Some(page) => self.pages.insert(number, Arc::clone(page)),
            None => self.pages.remove(&number),
        };
    }

    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let pages_end = self.len.next_multiple_of(PAGE_BYTES);
            self.zero(len..pages_end);
        }
        self.len = len;
    }

    pub(super) fn flip_bit(&mut self, position: u64, bit: u32) {
        let mut byte = [0];
        if self.read(position, &mut byte) == 1 {
            self.write(position, &[byte[0] ^ (1 << (bit % 8))]);
        }
    }
}

/// Calls for each page that `range` touches: its number, and the part of it that is meant.
fn pages_of(range: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    let end = range.end;
    let mut position = range.start;
    std::iter::from_fn(move || {
        if position >= end {
            return None;
        }
        let number = position / PAGE_BYTES;
        let page_start = number * PAGE_BYTES;
        let page_end = end.min(page_start + PAGE_BYTES);
        let part = within_page(position - page_start)..within_page(page_end - page_start);
        position = page_end;
        Some((number, part))
    })
}

fn within_page(bytes: u64) -> usize {
    usize::try_from(bytes).expect("at most a page, which fits every usize")
}

/// A file with its two images.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub(super) live: Image,
    durable: Image,
    dirty: BTreeSet<u64>,
    /// The lengths it has had since the last sync, oldest first.
    lengths: Vec<u64>,
    /// Pages from the start of the file that hold blocks; holes below count as held.
    held_pages: u64,
    /// Pages below `held_pages` whose blocks were given back.
    punched: BTreeSet<u64>,
}

impl Contents {
    /// A file that is wholly on disk.
    pub(super) fn durable(image: Image) -> Self {
        let held_pages = image.len.div_ceil(PAGE_BYTES);
        Self { live: image.clone(), durable: image, held_pages, ..Self::default() }
    }

    /// Bytes of blocks held.
    pub(super) fn held_bytes(&self) -> u64 {
        (self.held_pages - self.punched.len() as u64) * PAGE_BYTES
    }

    /// Bytes of blocks that would have to be found before `range` can be written.
    pub(super) fn wanting_bytes(&self, range: &Range<u64>) -> u64 {
        let grown = range.end.div_ceil(PAGE_BYTES).saturating_sub(self.held_pages);
        let pages =
            range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES).max(range.start / PAGE_BYTES);
        (grown + self.punched.range(pages).count() as u64) * PAGE_BYTES
    }

    /// Makes `range` part of the file, with blocks, and dirty.
    fn claim(&mut self, range: &Range<u64>, random: &mut SeededEntropy) {
        for (number, _) in pages_of(range.clone()) {
            // A page that is dirty already may have been written back before it changes again.
            if !self.dirty.insert(number) && random.one_in(4) {
                self.durable.take_page(number, &self.live);
            }
            self.punched.remove(&number);
        }
        self.held_pages = self.held_pages.max(range.end.div_ceil(PAGE_BYTES));
        self.grow(range.end);
    }

    pub(super) fn write(&mut self, position: u64, bytes: &[u8], random: &mut SeededEntropy) {
        if !bytes.is_empty() {
            self.claim(&(position..position + bytes.len() as u64), random);
            self.live.write(position, bytes);
        }
    }

    pub(super) fn zero(&mut self, range: Range<u64>, random: &mut SeededEntropy) {
        if range.start < range.end {
            self.claim(&range, random);
            self.live.zero(range);
        }
    }

    pub(super) fn allocate(&mut self, len: u64) {
        self.held_pages = self.held_pages.max(len.div_ceil(PAGE_BYTES));
        self.grow(len);
    }

    fn grow(&mut self, len: u64) {
        if len > self.live.len {
            self.live.len = len;
            self.lengths.push(len);
        }
    }

    /// Gives back the whole pages inside `range`.
    pub(super) fn punch(&mut self, range: &Range<u64>) {
        let end = range.end.min(self.held_pages * PAGE_BYTES) / PAGE_BYTES;
        for number in range.start.div_ceil(PAGE_BYTES)..end {
            if self.punched.insert(number) {
                self.live.pages.remove(&number);
                self.dirty.insert(number);
            }
        }
    }

    /// Everything becomes durable.
    pub(super) fn sync(&mut self) {
        for number in std::mem::take(&mut self.dirty) {
            self.durable.take_page(number, &self.live);
        }
        self.lengths.clear();
        self.durable.len = self.live.len;
    }

    /// Some dirty pages of `range` become durable, by chance; they stay dirty.
    pub(super) fn write_back(&mut self, range: &Range<u64>, random: &mut SeededEntropy) {
        let pages =
            range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES).max(range.start / PAGE_BYTES);
        for &number in self.dirty.range(pages) {
            if random.one_in(2) {
                self.durable.take_page(number, &self.live);
            }
        }
    }

    /// A sync that fails: by chance a page is durable or not, and all of them count as clean afterwards.
    pub(super) fn sync_badly(&mut self, random: &mut SeededEntropy) {
        self.write_back(&(0..u64::MAX - PAGE_BYTES), random);
        self.dirty.clear();
        if random.one_in(2) {
            self.durable.len = self.live.len;
        }
        self.lengths.clear();
    }

    /// What is found of it after a power loss.
    pub(super) fn after_power_loss(&self, random: &mut SeededEntropy) -> Self {
        let mut image = self.durable.clone();
        let kept = random.below(self.lengths.len() as u64 + 1);
        let last_kept = usize::try_from(kept).ok().and_then(|kept| kept.checked_sub(1));
        if let Some(&len) = last_kept.and_then(|last| self.lengths.get(last)) {
            image.len = len;
        }
        for &number in &self.dirty {
            match random.below(5) {
                0 | 1 => {}
                2 | 3 => image.take_page(number, &self.live),
                _ => {
                    let torn = torn(self.durable.page(number), self.live.page(number), random);
                    image.pages.insert(number, Arc::new(torn));
                }
            }
        }
        // What lies behind the length that was kept is lost with it.
        let len = image.len;
        image.len = u64::MAX - PAGE_BYTES;
        image.pages.retain(|number, _| number * PAGE_BYTES < len);
        image.zero(len..len.next_multiple_of(PAGE_BYTES));
        image.len = len;

        let mut contents = Self::durable(image);
        contents.punched = self
            .punched
            .range(..contents.held_pages)
            .copied()
            .filter(|n| !contents.live.pages.contains_key(n))
            .collect();
        contents
    }

    /// Changes both images at once, as rot or a stranger would.
    pub(super) fn tamper(&mut self, mut change: impl FnMut(&mut Image)) {
        change(&mut self.live);
        change(&mut self.durable);
    }
}

/// A page between `old` and `new`: a choice per sector, a cut in mid-sector, or garbage where the two differ. What
/// both agree on is kept always: a device does not touch the bytes of a sector that it rewrites with equal ones.
fn torn(old: &Page, new: &Page, random: &mut SeededEntropy) -> Page {
    let mut page = *old;
    match random.below(4) {
        0 | 1 => {
            for (sector, new) in page.chunks_mut(SECTOR_LEN).zip(new.chunks(SECTOR_LEN)) {
                if random.one_in(2) {
                    sector.copy_from_slice(new);
                }
            }
        }
        2 => {
            let cut = within_page(random.below(PAGE_BYTES));
            page[..cut].copy_from_slice(&new[..cut]);
        }
        _ => {
            for (byte, new) in page.iter_mut().zip(new) {
                if *byte != *new {
                    *byte = random.next_u64().to_le_bytes()[0];
                }
            }
        }
    }
    page
}
