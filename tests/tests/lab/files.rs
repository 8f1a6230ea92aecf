// SPDX-License-Identifier: MIT OR Apache-2.0
//! HTTP, and large files both ways.

use std::path::Path;

use lb_tests::lab::{Host, Method, Stage, VIP};

const MEGABYTES: usize = 100;

#[test]
fn curl_is_answered_by_every_method() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");

    for method in Method::ALL {
        let url = format!("http://{VIP}:{}/", method.port());
        stage.lab.client.sh(&format!("curl --silent --show-error --fail {url}")).succeeds().says("real");
    }
}

/// nginx stores the upload on the real that received it. With `tun` it also shows that the client
/// learns the smaller MTU.
#[test]
fn a_hundred_megabytes_arrive_whole_both_ways_by_every_method() {
    let stage = Stage::new();
    let _nginx = stage.start_web_servers();
    stage.serve_all_methods("tcp", "mh");
    let client = &stage.lab.client;
    let original = stage.lab.big_file("big", MEGABYTES);
    let expected = digest(client, &original);

    for method in Method::ALL {
        let (name, port) = (method.as_str(), method.port());
        let downloaded = client.path("downloaded");
        let curl = "curl --silent --show-error --fail";
        let file = downloaded.display();
        client.sh(&format!("{curl} --output {file} http://{VIP}:{port}/files/big")).succeeds();
        assert_eq!(digest(client, &downloaded), expected, "download by {name}");

        let file = original.display();
        client.sh(&format!("{curl} --upload-file {file} http://{VIP}:{port}/upload/{name}")).succeeds();
        let uploaded: Vec<_> =
            stage.lab.reals.iter().map(|real| real.uploaded(name)).filter(|file| file.exists()).collect();
        let [uploaded] = uploaded.as_slice() else { panic!("upload by {name}: stored {uploaded:?}") };
        assert_eq!(digest(client, uploaded), expected, "upload by {name}");
    }
}

fn digest(host: &Host, file: &Path) -> String {
    let said = host.sh(&format!("sha256sum {}", file.display())).succeeds().stdout;
    said.split_whitespace().next().expect("the digest comes first").to_owned()
}
