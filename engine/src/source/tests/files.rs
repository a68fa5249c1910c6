use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::files::OPEN_FILES_MAX;
use super::super::reader::FileReader;
use super::super::{SourceError, check};
use super::*;
use crate::model::InputOffset;

/// For tests that wait until a file without a name is given up.
const GRACE: Duration = Duration::from_millis(500);

fn lines(range: std::ops::Range<usize>) -> String {
    range.map(|number| format!("{{\"n\":{number}}}\n")).collect()
}

fn expected(range: std::ops::Range<usize>) -> Vec<String> {
    lines(range).lines().map(str::to_owned).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("compressed");
    encoder.finish().expect("compressed")
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).open(path).expect("opened");
    file.write_all(text.as_bytes()).expect("appended");
}

fn read_all(path: &Path, resume: &Offsets) -> Seen {
    Run::start(&[file_source("s", path, false)], resume).finish()
}

#[test]
fn compression_is_known_by_the_bytes_and_gives_the_same_records() {
    let dir = Scratch::new();
    let text = lines(0..10_000);
    let members = [gzip(&text[..30_000]), gzip(&text[30_000..])].concat();
    let plain = dir.write("plain.gz", &text);
    let gz = dir.write("gz.json", members);
    let zst = dir.write("zst.log", zstd::encode_all(text.as_bytes(), 1).expect("compressed"));
    for path in [plain, gz, zst] {
        let seen = read_all(&path, &Offsets::new());
        assert_eq!(seen.texts(), expected(0..10_000));
        let name = path.to_string_lossy();
        assert_eq!(
            seen.told,
            [
                format!("opened s|{name} of s"),
                "whole s".to_owned(),
                format!("ended s|{name}"),
                "finished s".to_owned()
            ]
        );
        assert_eq!(seen.payloads[41].position.to_string(), format!("{name}:42"));
        let Some(InputOffset::File {
            bytes,
            records,
            head_bytes,
            ..
        }) = seen.offsets.values().next()
        else {
            panic!("a file's offset")
        };
        assert_eq!((*bytes, *records, *head_bytes), (text.len() as u64, 10_000, 1024));
    }
}

#[test]
fn reading_goes_on_in_the_middle_of_a_file() {
    let dir = Scratch::new();
    let pretty = (0..9_000).map(|n| format!("{{\n \"n\": {n}\n}}\n")).collect::<String>();
    // So long that its records are handed on one by one.
    let long = (0..9_000)
        .map(|n| format!("{{\"n\":{n},\"x\":\"{:>600}\"}}", "]"))
        .collect::<Vec<_>>();
    let wrapped = format!("{{\"a\":1,\"Records\":[{}],\"b\":[]}}", long.join(",\n"));
    for text in [lines(0..9_000), pretty, format!("[\n{}\n]", long.join(",")), wrapped] {
        let files = [
            dir.write("a", &text),
            dir.write("b", gzip(&text)),
            dir.write("c", zstd::encode_all(text.as_bytes(), 1).expect("compressed")),
        ];
        for path in files {
            let all = read_all(&path, &Offsets::new());
            assert_eq!(all.payloads.len(), 9_000);
            let mut run = Run::start(&[file_source("s", &path, false)], &Offsets::new());
            run.until("the first batch", |seen| !seen.batches.is_empty());
            let first = run.stop();
            assert!(first.payloads.len() < 9_000);
            let rest = read_all(&path, &first.offsets);
            assert_eq!([first.texts(), rest.texts()].concat(), all.texts());
            assert_eq!(
                rest.payloads.last().map(|p| &p.position),
                all.payloads.last().map(|p| &p.position)
            );
            assert_eq!(read_all(&path, &rest.offsets).payloads.len(), 0, "nothing is left");
        }
    }
}

#[test]
fn a_replaced_file_is_read_from_its_beginning() {
    let dir = Scratch::new();
    let path = dir.write("a", lines(0..10));
    let first = read_all(&path, &Offsets::new());
    dir.write("a", lines(100..200));
    assert_eq!(read_all(&path, &first.offsets).texts(), expected(100..200));
    append(&path, &lines(200..300));
    let second = read_all(&path, &Offsets::new());
    append(&path, &lines(300..400));
    assert_eq!(
        read_all(&path, &second.offsets).texts(),
        expected(300..400),
        "an appended file is not a replaced one"
    );
}

#[test]
fn documents_are_one_payload_each_and_a_last_line_needs_no_newline() {
    let dir = Scratch::new();
    let array = "[\n {\"n\":1},\n {\"n\":2}\n]";
    let path = dir.write("array", format!("{array}\n"));
    assert_eq!(read_all(&path, &Offsets::new()).texts(), [array]);
    let path = dir.write("lines", "{\"n\":1}\n{\"n\":2}");
    assert_eq!(read_all(&path, &Offsets::new()).texts(), ["{\"n\":1}", "{\"n\":2}"]);
}

#[test]
fn corrupt_compressed_data_is_told_and_what_came_before_it_is_read() {
    let dir = Scratch::new();
    let text = lines(0..200_000);
    let (gz, zst) = (gzip(&text), zstd::encode_all(text.as_bytes(), 1).expect("compressed"));
    let wrong_sum = [&gz[..gz.len() - 8], &[0; 8]].concat();
    for bytes in [&gz[..gz.len() / 2], &zst[..zst.len() / 2], &wrong_sum] {
        let seen = read_all(&dir.write("broken", bytes), &Offsets::new());
        assert!(seen.was_told("corrupt or breaks off"), "{:?}", seen.told);
        assert!(seen.was_told("records were read (Lasting)"), "{:?}", seen.told);
        assert!(seen.was_told("finished s"));
        let whole = seen.payloads.iter().filter(|payload| !payload.truncated).count();
        assert!(seen.payloads.len() - whole <= 1, "only the last record is cut");
        assert_eq!(seen.texts()[..whole], expected(0..whole));
    }
}

#[test]
fn what_stands_behind_compressed_data_is_told_and_costs_nothing() {
    let dir = Scratch::new();
    let mut bytes = gzip(&lines(0..1_000));
    bytes.extend_from_slice(b"PK\x03\x04 and other things that are no gzip");
    let seen = read_all(&dir.write("padded", bytes), &Offsets::new());
    assert_eq!(seen.texts(), expected(0..1_000));
    assert!(seen.was_told("corrupt or breaks off"), "{:?}", seen.told);
}

#[test]
fn a_zstandard_file_that_asks_for_too_much_memory_is_refused() {
    let dir = Scratch::new();
    // A frame whose window is 2 GiB.
    let path = dir.write("wide", [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00]);
    let seen = read_all(&path, &Offsets::new());
    assert_eq!(seen.payloads.len(), 0);
    assert!(seen.was_told("too much memory"), "{:?}", seen.told);
}

#[test]
fn a_file_without_an_end_of_line_does_not_keep_the_sources_from_stopping() {
    let dir = Scratch::new();
    // It takes up no room on disk and would take minutes to be read.
    for follow in [false, true] {
        let path = dir.write("zeros", "{\"n\":0}\n");
        OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_len(1 << 40))
            .expect("a sparse file");
        let mut run = Run::start(&[file_source("s", &path, follow)], &Offsets::new());
        run.until("the record before", |seen| !seen.payloads.is_empty());
        assert_eq!(run.stop().texts(), expected(0..1));
    }
}

#[test]
fn rows_are_read_whole_and_reading_goes_on_between_them() {
    let dir = Scratch::new();
    let row = |n: usize| format!("{n},\"select\n  {n}\n\"\"x\"\";{:>300}\"", "");
    let text: String = (0..9_000).map(|n| row(n) + "\r\n").collect();
    let mut settings = file_source("s", &dir.write("rows.csv", &text), false);
    settings.format = "rows".into();
    let mut run = Run::start(std::slice::from_ref(&settings), &Offsets::new());
    run.until("the first batch", |seen| !seen.batches.is_empty());
    let first = run.stop();
    let rest = Run::start(&[settings], &first.offsets).finish();
    let texts = [first.texts(), rest.texts()].concat();
    assert_eq!(texts, (0..9_000).map(row).collect::<Vec<_>>());
}

#[test]
fn bounded_files_are_read_in_the_order_of_event_time() {
    let dir = Scratch::new();
    let later = dir.write("a", lines(40_000..80_000));
    dir.write("b", lines(0..40_000));
    let time_of: fn(&Payload) -> Option<Micros> = |payload| {
        let text = std::str::from_utf8(&payload.bytes).ok()?;
        text.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok()
    };
    // Two sources: they are read together.
    let settings = [
        file_source("x", &dir.path("a"), false),
        file_source("y", &dir.path("b"), false),
    ];
    let seen = Run::start_timed(&settings, &Offsets::new(), time_of).finish();
    assert_eq!(seen.payloads.len(), 80_000);
    let later = InputId::file("x", &later.to_string_lossy());
    let last_earlier = seen
        .batches
        .iter()
        .rposition(|(input, _)| *input != later)
        .expect("batches");
    let ahead = seen.batches[..last_earlier]
        .iter()
        .filter(|(input, _)| *input == later)
        .count();
    assert!(
        ahead <= 2,
        "{ahead} batches of the later file came before the earlier one's last"
    );
    assert!(seen.was_told("finished x") && seen.was_told("finished y"));
}

#[test]
fn every_file_is_opened_before_any_is_read_and_more_files_than_handles_are_read() {
    let dir = Scratch::new();
    for number in 0..150 {
        dir.write(&format!("{number:03}"), lines(number..number + 1));
    }
    let mut run = Run::start(&[file_source("s", &dir.path("*"), false)], &Offsets::new());
    run.until("a batch", |seen| !seen.payloads.is_empty());
    assert_eq!(
        run.seen.told.iter().filter(|told| told.starts_with("opened")).count(),
        150
    );
    let mut texts = run.finish().texts();
    texts.sort_by_key(|text| (text.len(), text.clone()));
    assert_eq!(texts, expected(0..150));
}

#[test]
fn a_bounded_file_that_cannot_be_opened_is_told_as_missing_and_the_others_are_read() {
    let dir = Scratch::new();
    for n in 0..40 {
        dir.write(&format!("{n:02}"), lines(n..n + 1));
    }
    let run = Run::start(&[file_source("s", &dir.path("*"), false)], &Offsets::new());
    // The reader waits with its notices, which are more than the channel holds, before it opens anything.
    fs::remove_file(dir.path("39")).expect("removed");
    let seen = run.finish();
    assert_eq!(seen.payloads.len(), 39);
    let told = seen.told.iter().find(|told| told.contains("cannot be opened"));
    let told = told.expect("it is told");
    assert!(told.contains("/39: ") && told.contains("(Lasting)"), "{told}");
    assert!(seen.was_told("finished s"));
}

#[test]
fn a_pattern_without_files_is_refused_unless_followed() {
    let dir = Scratch::new();
    let bounded = file_source("s", &dir.path("*.json"), false);
    let refused = start(
        std::slice::from_ref(&bounded),
        &Offsets::new(),
        &dir.path("spool"),
        None,
        &framing,
        Arc::default(),
    )
    .err();
    assert!(matches!(refused, Some(SourceError::NoFiles { .. })));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    assert!(matches!(
        runtime.block_on(check(&bounded)),
        Err(SourceError::NoFiles { .. })
    ));
    let followed = file_source("s", &dir.path("*.json"), true);
    assert!(
        runtime
            .block_on(check(&followed))
            .expect("fine")
            .starts_with("0 files match")
    );
    let invalid = file_source("s", &dir.path("***"), true);
    assert!(matches!(
        runtime.block_on(check(&invalid)),
        Err(SourceError::Pattern { .. })
    ));
    dir.write("a.json", "1\n");
    assert!(
        runtime
            .block_on(check(&bounded))
            .expect("fine")
            .starts_with("1 file matches")
    );
}

#[test]
fn a_followed_file_gives_appended_lines_whole_and_new_files_are_found() {
    let dir = Scratch::new();
    let mut run = Run::start(&[file_source("s", &dir.path("*.log"), true)], &Offsets::new());
    let path = dir.write("a.log", "{\"n\":0}\n{\"n\":");
    run.until("the first line", |seen| seen.payloads.len() == 1);
    append(&path, "1");
    append(&path, "}\n");
    run.until("the second line", |seen| seen.payloads.len() == 2);
    dir.write("b.log", lines(2..3));
    run.until("the new file", |seen| seen.payloads.len() == 3);
    run.until("idleness", |seen| {
        seen.told.iter().filter(|told| told.starts_with("idle")).count() == 2
    });
    append(&path, &lines(3..5));
    run.until("appended lines", |seen| seen.payloads.len() == 5);
    assert_eq!(run.stop().texts(), expected(0..5));
}

#[test]
fn rotation_loses_nothing_and_repeats_nothing() {
    for pattern in ["a.log", "a.log*"] {
        let dir = Scratch::new();
        let path = dir.write("a.log", lines(0..100));
        let settings = [file_source("s", &dir.path(pattern), true)];
        let mut run = Run::start(&settings, &Offsets::new());
        run.until("the first lines", |seen| seen.payloads.len() == 100);
        // Twice, as logrotate does it: what a.log.1 was becomes a.log.2.
        append(&path, &lines(100..110));
        fs::rename(&path, dir.path("a.log.1")).expect("renamed");
        append(&dir.path("a.log.1"), &lines(110..120));
        dir.write("a.log", lines(120..200));
        run.until("the new file", |seen| seen.payloads.len() >= 200);
        fs::rename(dir.path("a.log.1"), dir.path("a.log.2")).expect("renamed");
        fs::rename(&path, dir.path("a.log.1")).expect("renamed");
        dir.write("a.log", lines(200..300));
        run.until("the newest file", |seen| seen.payloads.len() >= 300);
        // And once while nothing runs.
        let mut seen = run.stop();
        append(&path, &lines(300..310));
        fs::rename(dir.path("a.log.2"), dir.path("a.log.3")).expect("renamed");
        fs::rename(dir.path("a.log.1"), dir.path("a.log.2")).expect("renamed");
        let reaches_renamed = pattern.ends_with('*');
        if reaches_renamed {
            fs::rename(&path, dir.path("a.log.1")).expect("renamed");
            dir.write("a.log", lines(310..320));
        } else {
            append(&path, &lines(310..320));
        }
        let mut run = Run::start(&settings, &seen.offsets);
        run.until("what came meanwhile", |seen| seen.payloads.len() >= 20);
        run.until("idleness", |seen| seen.was_told("idle"));
        seen.payloads.extend(run.stop().payloads);
        let mut texts = seen.texts();
        texts.sort_by_key(|text| (text.len(), text.clone()));
        assert_eq!(texts, expected(0..320), "pattern {pattern}");
    }
}

#[test]
fn a_truncated_file_starts_again() {
    let dir = Scratch::new();
    let path = dir.write("a.log", lines(0..100));
    let mut run = Run::start(&[file_source("s", &path, true)], &Offsets::new());
    run.until("the first lines", |seen| seen.payloads.len() == 100);
    // In place, as `copytruncate` does it: first shorter, then longer than before.
    fs::write(&path, lines(100..110)).expect("written");
    run.until("the lines after the first truncation", |seen| {
        seen.payloads.len() == 110
    });
    fs::write(&path, lines(110..1_000)).expect("written");
    run.until("the lines after the second truncation", |seen| {
        seen.payloads.len() == 1_000
    });
    assert_eq!(run.stop().texts(), expected(0..1_000));
}

#[test]
fn a_followed_file_that_goes_away_ends_and_may_come_back() {
    let dir = Scratch::new();
    let path = dir.write("a.log", "{\"n\":0}\n{\"n\":1}");
    let mut run = Run::follow(&path, &Offsets::new(), GRACE);
    run.until("the first line", |seen| seen.payloads.len() == 1);
    fs::remove_file(&path).expect("removed");
    run.until("the end", |seen| seen.was_told("ended"));
    dir.write("a.log", lines(2..4));
    run.until("the new file", |seen| seen.payloads.len() == 4);
    assert_eq!(run.stop().texts(), expected(0..4));
}

#[test]
fn a_followed_file_that_comes_back_as_it_was_is_not_read_again() {
    let dir = Scratch::new();
    let path = dir.write("a.log", lines(0..2));
    let mut run = Run::follow(&path, &Offsets::new(), GRACE);
    run.until("the first lines", |seen| seen.payloads.len() == 2);
    fs::rename(&path, dir.path("aside")).expect("renamed");
    run.until("the end", |seen| seen.was_told("ended"));
    fs::rename(dir.path("aside"), &path).expect("renamed");
    append(&path, &lines(2..3));
    run.until("the appended line", |seen| seen.payloads.len() == 3);
    assert_eq!(run.stop().texts(), expected(0..3));
}

#[test]
fn a_writer_that_keeps_the_old_file_is_heard_after_a_rotation() {
    let dir = Scratch::new();
    let path = dir.write("a.log", lines(0..10));
    let mut run = Run::start(&[file_source("s", &path, true)], &Offsets::new());
    run.until("the first lines", |seen| seen.payloads.len() == 10);
    // It had been silent for long before.
    run.until("idleness", |seen| seen.was_told("idle"));
    let mut old = OpenOptions::new().append(true).open(&path).expect("opened");
    fs::rename(&path, dir.path("aside")).expect("renamed");
    dir.write("a.log", lines(10..20));
    run.until("the new file, though the old one is listened to", |seen| {
        seen.payloads.len() == 20
    });
    old.write_all(lines(20..30).as_bytes()).expect("appended");
    run.until("what the old file got", |seen| seen.payloads.len() == 30);
    let mut seen = run.stop();
    // The new file goes on where it was.
    append(&path, &lines(30..40));
    let mut run = Run::start(&[file_source("s", &path, true)], &seen.offsets);
    run.until("the appended lines", |seen| seen.payloads.len() == 10);
    seen.payloads.extend(run.stop().payloads);
    assert_eq!(seen.texts(), expected(0..40));
}

#[test]
fn a_file_without_a_name_leaves_the_watermark_and_may_get_another() {
    let dir = Scratch::new();
    let path = dir.write("a.log", lines(0..10));
    let mut run = Run::start(&[file_source("s", &dir.path("*.log"), true)], &Offsets::new());
    run.until("the first lines", |seen| seen.payloads.len() == 10);
    fs::rename(&path, dir.path("aside")).expect("renamed");
    run.until("idleness", |seen| seen.was_told("idle"));
    append(&dir.path("aside"), &lines(10..20));
    run.until("what it got without a name", |seen| seen.payloads.len() == 20);
    fs::rename(dir.path("aside"), dir.path("b.log")).expect("renamed");
    append(&dir.path("b.log"), &lines(20..30));
    run.until("the end of the old name", |seen| seen.was_told("ended"));
    run.until("what it got under another name", |seen| seen.payloads.len() >= 30);
    assert_eq!(run.stop().texts(), expected(0..30));
}

#[test]
fn of_many_files_without_a_name_few_stay_open() {
    let dir = Scratch::new();
    let mut run = Run::start(&[file_source("s", &dir.path("*.log"), true)], &Offsets::new());
    for round in 0..3 {
        for number in 0..50 {
            let n = round * 50 + number;
            dir.write(&format!("{n}.log"), lines(n..n + 1));
        }
        run.until("the lines", |seen| seen.payloads.len() == (round + 1) * 50);
        for number in 0..50 {
            fs::remove_file(dir.path(&format!("{}.log", round * 50 + number))).expect("removed");
        }
    }
    // Long before the minute is over for any of them.
    run.until("the ends of those that are too many", |seen| {
        seen.told.iter().filter(|told| told.starts_with("ended")).count() == 150 - OPEN_FILES_MAX
    });
    run.stop();
}

#[test]
fn a_pipe_under_a_followed_name_is_no_file_and_holds_nobody_up() {
    let dir = Scratch::new();
    let pipe = |path: &Path| {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.expect("mkfifo runs").success());
    };
    let path = dir.write("a.log", lines(0..10));
    let mut run = Run::follow(&dir.path("*.log"), &Offsets::new(), GRACE);
    run.until("the first lines", |seen| seen.payloads.len() == 10);
    fs::remove_file(&path).expect("removed");
    pipe(&path);
    run.until("the end", |seen| seen.was_told("ended"));
    pipe(&dir.path("c.log"));
    dir.write("b.log", lines(10..20));
    run.until("another file", |seen| seen.payloads.len() == 20);
    assert_eq!(run.stop().texts(), expected(0..20));
    // And where one takes the place of a file that was found before.
    let mut reader = FileReader::new(path, None, &Framing::default());
    let refused = reader.open().map_err(|error| error.to_string());
    assert!(
        refused.as_ref().is_err_and(|why| why.contains("no regular file")),
        "{refused:?}"
    );
}

#[test]
fn a_thread_that_hangs_does_not_keep_the_sources_from_ending() {
    let dir = Scratch::new();
    let mut run = Run::follow(&dir.path("*.log"), &Offsets::new(), GRACE);
    let (release, held) = std::sync::mpsc::channel::<()>();
    let hang = move || {
        let _ = held.recv();
        Ok(())
    };
    run.sources.spawn("hangs", hang).expect("started");
    drop(run.events);
    run.runtime
        .block_on(run.sources.join_within(Duration::from_millis(100)));
    // Were it waited for, this would never be reached.
    drop(release);
}

#[test]
fn a_pipeline_that_takes_nothing_stops_the_reading_within_the_bound() {
    let dir = Scratch::new();
    let path = dir.write("big", vec![b'\n'; 1]);
    let line = format!("{}\n", "x".repeat(1 << 20));
    for _ in 0..100 {
        append(&path, &line);
    }
    let run = Run::start(&[file_source("s", &path, false)], &Offsets::new());
    let begun = Instant::now();
    // After the two notices, two batches of the only file may be ahead of the pipeline's decoding.
    while run.events.len() < 4 && begun.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(run.events.len(), 4);
    assert_eq!(run.finish().payloads.len(), 100);
}
