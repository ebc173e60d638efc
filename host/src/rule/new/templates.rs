//! Templates: the examples of rules, one for each language, as they lie in the repository. A language more is an entry more.

/// A language, and what a new rule in it consists of.
pub(super) struct Template {
    /// Its name on the command line, and that of its folders.
    pub(super) language: &'static str,
    /// The file in which the rule is.
    pub(super) source: &'static str,
    /// The files of its example.
    pub(super) example: &'static [TemplateFile],
    /// The files of the SDK that it needs.
    pub(super) sdk: &'static [TemplateFile],
    /// What is replaced in its example before paths are: from, to.
    pub(super) replace: &'static [(&'static str, &'static str)],
    /// What the scenario says before its first line; empty where the limits of every rule will do.
    pub(super) limits: &'static str,
}

/// A file of the repository.
pub(super) struct TemplateFile {
    /// As seen from its folder.
    pub(super) path: &'static str,
    pub(super) text: &'static str,
}

/// Files of `rules/examples/LANGUAGE`.
macro_rules! example {
    ($language:literal: $($path:literal),* $(,)?) => {
        &[$(TemplateFile {
            path: $path,
            text: include_str!(concat!("../../../../rules/examples/", $language, "/", $path)),
        }),*]
    };
}

/// Files of `guest-sdk`.
macro_rules! sdk {
    ($($path:literal),* $(,)?) => {
        &[$(TemplateFile { path: $path, text: include_str!(concat!("../../../../guest-sdk/", $path)) }),*]
    };
}

/// What a collection of garbage may take now and then.
const SLOW: &str = "[limits]\ncpu = \"100ms\"   # a collection of garbage takes long, now and then\n\n";

pub(super) const TEMPLATES: [Template; 10] = [
    Template {
        language: "assemblyscript",
        source: "knock.ts",
        example: example!("assemblyscript": "build.sh", "knock.ts"),
        sdk: sdk!("assemblyscript/postern.ts"),
        // It takes the path as it names modules itself.
        replace: &[("abort=../../../guest-sdk", "abort=sdk")],
        limits: "",
    },
    Template {
        language: "c",
        source: "knock.c",
        example: example!("c": "build.sh", "knock.c", "test.c"),
        sdk: sdk!("c/postern.h", "c/postern_text.h"),
        replace: &[],
        limits: "",
    },
    Template {
        language: "cpp",
        source: "knock.cpp",
        example: example!("cpp": "build.sh", "knock.cpp", "test.cpp"),
        sdk: sdk!("c/postern.h", "c/postern_text.h", "cpp/postern.hpp"),
        replace: &[],
        limits: "",
    },
    Template {
        language: "go",
        source: "knock.go",
        example: example!("go": "build.sh", "go.mod", "knock.go", "knock_test.go"),
        sdk: sdk!("go/abi.go", "go/go.mod", "go/log_native.go", "go/postern.go", "go/settings.go"),
        replace: &[],
        limits: SLOW,
    },
    Template {
        language: "javascript",
        source: "knock.js",
        example: example!("javascript": "build.sh", "knock.js", "knock.test.js", "package.json"),
        sdk: sdk!(
            "javascript/native.mjs",
            "javascript/postern.mjs",
            "typescript/host.d.ts",
            "typescript/postern.d.ts",
            "wit/rule.wit",
        ),
        replace: &[],
        limits: SLOW,
    },
    Template {
        language: "python",
        source: "knock.py",
        example: example!("python": "build.sh", "knock.py", "test_knock.py"),
        sdk: sdk!(
            "python/componentize_py_types.py",
            "python/postern.py",
            "python/wit_world/__init__.py",
            "python/wit_world/imports/__init__.py",
            "python/wit_world/imports/host.py",
            "python/wit_world/imports/types.py",
            "wit/rule.wit",
        ),
        replace: &[],
        limits: SLOW,
    },
    Template {
        language: "rust",
        source: "src/lib.rs",
        example: example!("rust": ".cargo/config.toml", "build.sh", "Cargo.toml", "src/lib.rs"),
        // A crate of its own.
        sdk: &[],
        replace: &[],
        limits: "",
    },
    Template {
        language: "typescript",
        source: "knock.ts",
        example: example!("typescript": "build.sh", "knock.ts", "knock.test.js", "package.json", "tsconfig.json"),
        sdk: sdk!(
            "javascript/native.mjs",
            "javascript/postern.mjs",
            "typescript/host.d.ts",
            "typescript/lines.mjs",
            "typescript/postern.d.ts",
            "wit/rule.wit",
        ),
        replace: &[],
        limits: SLOW,
    },
    Template {
        language: "wat",
        source: "knock.wat",
        example: example!("wat": "build.sh", "knock.wat"),
        sdk: &[],
        replace: &[],
        limits: "",
    },
    Template {
        language: "zig",
        source: "knock.zig",
        example: example!("zig": "build.sh", "knock.zig"),
        sdk: sdk!("zig/postern.zig"),
        replace: &[],
        limits: "",
    },
];

/// What every example does, in every language.
pub(super) const SCENARIO: &str = include_str!("../../../../rules/examples/knock.scenario");

/// The rule's file, as the daemon reads it.
pub(super) const RULE_FILE: &str = r#"# The rule NAME: copy this file and NAME.wasm to /etc/postern/rules.
module = "NAME.wasm"
door = "ssh"            # a door of /etc/postern/postern.toml

[settings]
within = "5s"           # how long a client has between the two packets
"#;

/// How to go on.
pub(super) const README: &str = "# NAME

A rule for Postern. 7000/udp, and within five seconds a SYN at 7001/tcp, opens its first door. The rule is in SOURCE.

    ./build.sh NAME.wasm           # what it needs is said in its first lines
    posternd rule test .            # plays NAME.scenario to the module
    posternd rule inspect NAME.wasm
    posternd rule bench NAME.wasm

NAME.scenario has knocks and what the rule should say of each. Change the rule, run the test, and if what differs is right, `posternd rule test --update .`
writes it into the file.

To put it to work, copy NAME.wasm and NAME.toml to the folder `rules` beside `postern.toml`, and try them with `posternd check`. The daemon takes them up by
itself.
";
