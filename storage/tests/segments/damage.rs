//! Rot: every bit and every length of a small segment. What is lost is reported exactly, the rest is served, and
//! never a wrong byte.

use std::path::Path;
use std::sync::Arc;

use embermq_storage::Offset;
use embermq_storage::disk::sim::SimDisk;
use embermq_storage::partition::PartitionManifest;
use embermq_storage::segment::{ReadError, verify_segment};

use crate::harness::{Batch, Partition, read_around_damage, recover, tiny};

struct Small {
    disk: Arc<SimDisk>,
    staged: Vec<Batch>,
    manifest: PartitionManifest,
    path: std::path::PathBuf,
    /// Where the fields of the first segment start: the header, each batch, and the end.
    fields: Vec<u64>,
}

fn small(sealed: bool) -> Small {
    let (disk, mut partition) = Partition::tiny_on_sim();
    for (records, bytes) in [(1, 0), (3, 5), (2, 40), (1, 17)] {
        partition.stage(records, vec![0xA5; bytes]);
    }
    if sealed {
        partition.stage(1, vec![1; 700]);
    }
    partition.commit();
    partition.run_jobs();
    partition.sync();
    let manifest = partition.log.manifest();
    let first = &manifest.segments[0];
    assert_eq!((first.sealed, first.next), (sealed, Offset(7)));
    let batches = &partition.staged[..4];
    let sizes = batches.iter().map(|batch| 62 + batch.body.len() as u64);
    let header = first.bytes - sizes.clone().sum::<u64>();
    let mut fields = vec![0, header];
    for size in sizes {
        fields.push(fields.last().unwrap() + size);
    }
    let path = partition.segment_path(0);
    Small { disk, staged: partition.staged, manifest, path, fields }
}

impl Small {
    fn segment_bytes(&self) -> u64 {
        self.manifest.segments[0].bytes
    }

    /// Checks what a reader makes of `disk`: the batches that it gets, and those that errors name, are all there are.
    fn assert_exact(&self, disk: &SimDisk, what: &str) -> Vec<ReadError> {
        let log = recover(Arc::new(disk.clone()), Path::new("/p"), tiny(), &self.manifest);
        let (batches, errors) = read_around_damage(&log.reader());
        let mut lost = Vec::new();
        for error in &errors {
            let ReadError::Damaged { file, first, next, .. } = error else {
                panic!("{what}: {error}")
            };
            assert_eq!(*file, self.path, "{what}");
            lost.push(*first..*next);
        }
        let is_lost =
            |batch: &&Batch| lost.iter().any(|lost| lost.contains(&batch.head.base_offset));
        let expected: Vec<_> =
            self.staged.iter().filter(|batch| !is_lost(batch)).cloned().collect();
        assert_eq!(batches, expected, "{what}");
        errors
    }
}

#[test]
fn every_flipped_bit_is_reported_where_it_is_or_does_no_harm() {
    for sealed in [false, true] {
        let small = small(sealed);
        for position in 0..small.segment_bytes() {
            let field = small.fields.partition_point(|start| *start <= position) - 1;
            for bit in 0..8 {
                let what = format!("byte {position}, bit {bit}, sealed {sealed}");
                let disk = small.disk.copy();
                disk.flip_bit(&small.path, position, bit).unwrap();

                let errors = small.assert_exact(&disk, &what);
                let report = verify_segment(&disk, &small.path).unwrap();
                assert_eq!(report.damage[0].file_position, small.fields[field], "{what}");
                assert_eq!(report.damage.len(), 1, "{what}");
                if field == 0 {
                    assert!(errors.len() <= 1, "{what}");
                    continue;
                }
                let batch = &small.staged[field - 1].head;
                let [ReadError::Damaged { file_position, first, next, .. }] = errors[..] else {
                    panic!("{what}: {errors:?}")
                };
                assert_eq!(file_position, small.fields[field], "{what}");
                assert_eq!((first, next), (batch.base_offset, batch.next_offset()), "{what}");
                assert_eq!(report.batches, 3, "{what}");
            }
        }
    }
}

#[test]
fn a_damaged_header_costs_no_batch_while_its_epoch_is_whole() {
    let small = small(true);
    let disk = small.disk.copy();
    disk.flip_bit(&small.path, 9, 0).unwrap();
    assert!(small.assert_exact(&disk, "topic").is_empty());
    let report = verify_segment(&disk, &small.path).unwrap();
    assert_eq!((report.header, report.batches, report.damage.len()), (None, 4, 1));
    assert_eq!(report.damage[0].file_end, small.fields[1]);
}

#[test]
fn a_file_cut_anywhere_is_served_up_to_the_cut() {
    for sealed in [false, true] {
        let small = small(sealed);
        let len = small.disk.contents(&small.path).unwrap().len() as u64;
        for cut in 0..len {
            let what = format!("{cut} bytes, sealed {sealed}");
            let disk = small.disk.copy();
            disk.truncate(&small.path, cut).unwrap();
            let errors = small.assert_exact(&disk, &what);
            let report = verify_segment(&disk, &small.path).unwrap();
            assert!(report.end <= cut || cut < small.fields[1], "{what}");
            if cut >= small.segment_bytes() {
                assert!(errors.is_empty(), "{what}");
                continue;
            }
            let whole = small.fields.partition_point(|start| *start <= cut) - 1;
            let [ReadError::Damaged { file_position, first, next, .. }] = errors[..] else {
                panic!("{what}: {errors:?}")
            };
            assert_eq!(file_position, small.fields[whole], "{what}");
            let expected = small.staged[whole.saturating_sub(1)].head.base_offset;
            assert_eq!((first, next), (expected, Offset(7)), "{what}");
        }
    }
}

#[test]
fn garbage_of_any_kind_is_only_reported() {
    let small = small(true);
    let contents = small.disk.contents(&small.path).unwrap();
    let mut variants = vec![Vec::new(), vec![0; 5_000], vec![0x0A; 5_000], vec![0xFF; 5_000]];
    for at in (0..contents.len()).step_by(7) {
        let mut variant = contents.clone();
        let end = (at + 40).min(variant.len());
        variant[at..end].fill(0x12);
        variants.push(variant);
        let mut shifted = contents.clone();
        shifted.insert(at, 0x0A);
        variants.push(shifted);
    }
    for (at, variant) in variants.iter().enumerate() {
        let disk = small.disk.copy();
        disk.plant(&small.path, variant).unwrap();
        small.assert_exact(&disk, &format!("variant {at}"));
        verify_segment(&disk, &small.path).unwrap();
    }
}

#[test]
fn good_batches_before_damage_come_first() {
    let small = small(true);
    small.disk.flip_bit(&small.path, small.fields[3] + 20, 1).unwrap();
    let log = recover(small.disk.clone(), Path::new("/p"), tiny(), &small.manifest);
    let reader = log.reader();
    let slice = reader.read(Offset(0), 1 << 20).unwrap();
    assert_eq!((slice.first, slice.next), (Offset(0), Offset(4)));
    let error = reader.read(Offset(4), 1 << 20).unwrap_err().to_string();
    assert!(error.contains(&format!("damaged at byte {}", small.fields[3])), "{error}");
    assert!(error.contains("offsets 4 up to, not including, 6 are lost"), "{error}");
}
