//! `examples/image_queue/run.sh` does what its README says. Left out where there is no `curl`.
#![cfg(feature = "inference")]

mod server;

use std::path::Path;
use std::process::Command;

use server::Server;

#[test]
fn the_image_queue_of_the_examples_labels_the_sample_photos() {
    if Command::new("curl").arg("--version").output().is_err() {
        println!("there is no curl here: nothing was tested");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path(), &[]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/image_queue/run.sh");
    // Twice: what is there from the first time is no obstacle.
    for _ in 0..2 {
        let ran = Command::new("sh").arg(&script).env("EMBERMQ_URL", &server.url).output().unwrap();
        let (said, wrong) =
            (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{said}\n{wrong}");
        for expected in [
            "coffee.png               espresso",
            "broken.jpg",
            "\"matched\":",
            "/v1/requests/",
            " is espresso",
            "orders.py                python",
            "page.pdf                 pdf",
        ] {
            assert!(said.contains(expected), "no {expected:?} in {said}\n{wrong}");
        }
        assert!(!said.contains("\"matched\":0"), "{said}");
    }
}
