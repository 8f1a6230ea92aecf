// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of the status page, at `/` and below `/page/`. They contain no data, and need no token.
#![forbid(unsafe_code)]

use std::{fmt::Write as _, future::ready};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use sha2::{Digest as _, Sha256};

/// A file: its path, its type and its contents.
#[derive(Clone, Copy)]
struct File {
    path: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

/// Declares a file of the folder `page`.
macro_rules! file {
    ($path:literal, $name:literal, $kind:literal) => {
        File { path: $path, kind: $kind, content: include_bytes!(concat!("../../page/", $name)) }
    };
}

/// All files.
const FILES: [File; 10] = [
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("/page/style.css", "style.css", "text/css; charset=utf-8"),
    file!("/page/icon.svg", "icon.svg", "image/svg+xml"),
    file!("/page/app.js", "app.js", "text/javascript; charset=utf-8"),
    file!("/page/actions.js", "actions.js", "text/javascript; charset=utf-8"),
    file!("/page/model.js", "model.js", "text/javascript; charset=utf-8"),
    file!("/page/plot.js", "plot.js", "text/javascript; charset=utf-8"),
    file!("/page/stream.js", "stream.js", "text/javascript; charset=utf-8"),
    file!("/page/table.js", "table.js", "text/javascript; charset=utf-8"),
    file!("/page/units.js", "units.js", "text/javascript; charset=utf-8"),
];

/// Creates the router of the files.
pub fn router() -> Router {
    FILES.into_iter().fold(Router::new(), |router, file| {
        let tag = tag(file.content);
        router.route(file.path, get(move |headers: HeaderMap| ready(answer(&file, &tag, &headers))))
    })
}

/// Returns the entity tag of a content: the beginning of its hash.
fn tag(content: &[u8]) -> String {
    let mut tag = String::from("\"");
    for byte in Sha256::digest(content).iter().take(12) {
        let _infallible = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// Returns a file, or that the browser has it already: it asks each time, so that a new daemon's page is shown at
/// once.
fn answer(file: &File, tag: &str, headers: &HeaderMap) -> Response {
    let cache = [(header::ETAG, tag), (header::CACHE_CONTROL, "no-cache")];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)) {
        return (StatusCode::NOT_MODIFIED, cache).into_response();
    }
    (cache, [(header::CONTENT_TYPE, file.kind)], file.content).into_response()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use axum::http::HeaderValue;

    use super::*;

    /// Returns the text of a file of the page.
    fn text(file: &File) -> &'static str {
        std::str::from_utf8(file.content).unwrap()
    }

    #[test]
    fn every_file_of_the_folder_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let here: BTreeSet<String> = fs::read_dir(folder).unwrap().map(name).collect();
        let name = |file: &File| file.path.strip_prefix("/page/").unwrap_or("index.html").to_owned();
        assert_eq!(here, FILES.iter().map(name).collect());
    }

    #[test]
    fn what_a_file_loads_is_served_and_nothing_is_inline() {
        let paths: BTreeSet<&str> = FILES.iter().map(|file| file.path).collect();
        for file in &FILES {
            let quoted = text(file).split('"').skip(1).step_by(2);
            for loaded in quoted.filter(|one| one.starts_with("./") || one.starts_with("/page/")) {
                let path =
                    loaded.strip_prefix("./").map_or(loaded.to_owned(), |name| format!("/page/{name}"));
                assert!(paths.contains(path.as_str()), "{} loads {loaded}", file.path);
            }
            // The policy of the listener forbids them, and the page would silently lack them.
            for inline in [" style=", "<style", " onclick=", "javascript:", "innerHTML", "https://"] {
                assert!(!text(file).contains(inline), "{} has {inline}", file.path);
            }
        }
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        let (file, tag) = (&FILES[0], tag(FILES[0].content));
        assert_eq!(answer(file, &tag, &HeaderMap::new()).status(), StatusCode::OK);
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_str(&format!("W/{tag}")).unwrap());
        assert_eq!(answer(file, &tag, &headers).status(), StatusCode::NOT_MODIFIED);
        headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("\"other\""));
        assert_eq!(answer(file, &tag, &headers).status(), StatusCode::OK);
    }
}
