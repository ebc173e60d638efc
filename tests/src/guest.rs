//! Guest: rules whose every misdeed is a few lines of WebAssembly text.

/// A rule that watches UDP 7 and whose `judge` is these instructions; `$call` is where its arguments are.
///
/// At 96 stands the verdict `ignore`, which `judge` answers by returning 96.
#[must_use]
pub fn judging(instructions: &str) -> Vec<u8> {
    guest("", "(i32.const 48)", instructions)
}

/// A rule with definitions of its own, and these instructions for `configure` and `judge`.
#[must_use]
pub fn guest(definitions: &str, configure: &str, judge: &str) -> Vec<u8> {
    Guest { definitions, configure, judge, ..Guest::default() }.module()
}

/// A rule in parts, each in WebAssembly text.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    /// The UDP port that it watches, by the interest at 48, whose watch is at 16.
    pub port: u16,
    /// How many pages of memory it has, of 64 KiB each.
    pub pages: u32,
    /// Definitions of its own, imports included.
    pub definitions: &'a str,
    /// What is done before the host gets memory for what it hands over.
    pub realloc: &'a str,
    /// What `configure` does, which returns 48 to ask for the port.
    pub configure: &'a str,
    /// What `judge` does; `$call` is where its arguments are.
    pub judge: &'a str,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self {
            port: 7,
            pages: 1,
            definitions: "",
            realloc: "",
            configure: "(i32.const 48)",
            judge: "(i32.const 96)",
        }
    }
}

impl Guest<'_> {
    /// The module.
    ///
    /// # Panics
    /// If that is no WebAssembly.
    #[must_use]
    pub fn module(self) -> Vec<u8> {
        let Self { port, pages, definitions, realloc, configure, judge } = self;
        let [low, high] = port.to_le_bytes();
        let port = format!("\\{low:02x}\\{high:02x}");
        let text = format!(
            r#"(module
                {imports}
                (memory (export "memory") {pages})
                (global $arena (mut i32) (i32.const 1024))
                (data (i32.const 16) "\01\00{port}{port}\00\00")
                (data (i32.const 48) "\00\00\00\00\10\00\00\00\01\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\01\00\00\00")
                {definitions}
                (func (export "cabi_realloc") (param i32 i32 i32) (param $size i32) (result i32)
                    {realloc}
                    (global.set $arena (i32.add (global.get $arena) (i32.and (i32.add (local.get $size) (i32.const 15)) (i32.const -8))))
                    (i32.sub (global.get $arena) (i32.and (i32.add (local.get $size) (i32.const 15)) (i32.const -8))))
                (func (export "configure") (param i32 i32) (result i32)
                    (global.set $arena (i32.const 1024))
                    {configure})
                (func $judge (export "judge") (param $call i32) (result i32)
                    (global.set $arena (i32.const 1024))
                    {judge}))"#,
            // Imports must come before everything else.
            imports = definitions.lines().filter(|line| line.contains("(import ")).collect::<String>(),
            definitions = definitions.lines().filter(|line| !line.contains("(import ")).collect::<String>(),
        );
        wat::parse_str(text).expect("this is WebAssembly")
    }
}
