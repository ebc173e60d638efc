//! Every language's new folder: that nothing is missing in it, and that nothing leads out of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;

fn args(name: &str, lang: &str) -> NewArgs {
    NewArgs { name: name.to_owned(), lang: lang.to_owned(), dir: None, sdk: None }
}

fn made(name: &str, lang: &str) -> Vec<NewFile> {
    files(&args(name, lang)).unwrap()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files below a folder, as seen from it.
fn below(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}

#[test]
fn there_is_a_template_for_each_example_with_all_its_files() {
    let examples = repository().join("rules/examples");
    let folders = fs::read_dir(&examples).unwrap().map(|entry| entry.unwrap().path());
    let folders: BTreeSet<_> = folders.filter(|path| path.is_dir()).collect();
    let languages: BTreeSet<_> = TEMPLATES.iter().map(|template| examples.join(template.language)).collect();
    assert_eq!(folders, languages);
    for template in &TEMPLATES {
        let named: BTreeSet<_> = template.example.iter().map(|file| file.path.to_owned()).collect();
        assert_eq!(named, below(&examples.join(template.language)), "{}", template.language);
        assert!(named.contains(template.source) && named.contains("build.sh"), "{}", template.language);
    }
}

#[test]
fn nothing_leads_out_of_the_folder_and_what_it_names_is_there() {
    for template in &TEMPLATES {
        let files = made("office-hours", template.language);
        let paths: BTreeSet<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths.len(), files.len(), "each once: {paths:?}");
        for NewFile { path, text } in &files {
            // What the SDK's files name is within it.
            assert!(path.starts_with("sdk/") || !text.contains("../"), "{}: {path}", template.language);
            assert!(
                !text.contains("guest-sdk") || template.language == "rust",
                "{}: {path}",
                template.language
            );
            assert!(!path.contains("knock"), "{path}");
            // A crate names the SDK's own folder, which is elsewhere.
            let is_crate = template.language == "rust" || path.starts_with("sdk/");
            for named in text.split("sdk/").skip(1).filter(|_| !is_crate) {
                let end = named
                    .find(|c: char| !c.is_ascii_alphanumeric() && !"/._".contains(c))
                    .unwrap_or(named.len());
                let named =
                    format!("sdk/{}", named[..end].trim_end_matches(['.', '/']).trim_end_matches("/abort"));
                assert!(
                    paths.iter().any(|path| path.starts_with(&named)),
                    "{}: {path} names {named}",
                    template.language
                );
            }
        }
        for path in ["README.md", "office-hours.toml", "office-hours.scenario", "build.sh"] {
            assert!(paths.contains(path), "{}: {path}", template.language);
        }
    }
}

#[test]
fn a_crate_depends_on_the_sdk_by_version_or_by_a_path() {
    let manifest = |args: &NewArgs| {
        let files = files(args).unwrap();
        files.into_iter().find(|file| file.path == "Cargo.toml").unwrap().text
    };
    let text = manifest(&args("office-hours", "rust"));
    assert!(text.contains("name = \"office_hours\"") && text.contains("\n[workspace]\n"), "{text}");
    assert!(text.contains(concat!("\npostern-sdk = \"", env!("CARGO_PKG_VERSION"), "\"\n")), "{text}");
    let text = manifest(&NewArgs { sdk: Some(repository().join("guest-sdk")), ..args("a", "rust") });
    assert!(text.contains("\npostern-sdk = { path = '/") && text.contains("/guest-sdk/rust' }\n"), "{text}");
}

#[test]
fn what_cannot_be_made_is_told() {
    let told = |args: NewArgs| files(&args).err().unwrap_or_default();
    assert_eq!(
        told(args("a b", "c")),
        "`a b` is no name of a rule: a name is 1 to 64 letters, digits, `-` and `_`"
    );
    assert_eq!(
        told(args("a", "cobol")),
        "there is no language `cobol`; there are assemblyscript, c, cpp, go, javascript, python, rust, typescript, wat, zig"
    );
    let sdk = Some(PathBuf::from("nowhere"));
    assert_eq!(
        told(NewArgs { sdk: sdk.clone(), ..args("a", "c") }),
        "--sdk is for rust; the files of the SDK for c are copied into the folder"
    );
    assert_eq!(
        told(NewArgs { sdk, ..args("a", "rust") }),
        "--sdk nowhere: there is no rust/Cargo.toml in it; name the folder guest-sdk of a checkout"
    );
}
