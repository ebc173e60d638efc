//! The key `interfaces`: names of interfaces, each once, or `any`.

use postern_core::ANY_INTERFACE;

use crate::machine;
use crate::table::Table;

/// The longest name of an interface, in bytes.
const LONGEST: usize = 15;

/// The interfaces to capture on; empty if the key is missing, which is a mistake.
pub(crate) fn read(table: &Table<'_>) -> Vec<String> {
    let interfaces = table.texts("interfaces");
    if interfaces.is_none() && !table.has("interfaces") {
        let mut place = table.place();
        place.key = "interfaces".to_owned();
        table.mistake(
            &place,
            "which interfaces should be listened to? interfaces = [\"any\"], or their names, as `ip -br link` shows them",
        );
    }
    let interfaces = interfaces.unwrap_or_default();
    for (n, at) in interfaces.iter().enumerate() {
        let name = at.value;
        if name.contains(['*', '?', '[', ']']) {
            let here = machine::there_are();
            table.mistake(
                &at.place,
                format!("`{name}` is a pattern, and patterns are not taken; write each name, or \"any\" alone; {here}"),
            );
        } else if let Some((interface, _)) = name.split_once(':') {
            table.mistake(
                &at.place,
                format!("`{name}` is an address with a name, not an interface; write \"{interface}\""),
            );
        } else if name.is_empty() || name.len() > LONGEST || name.contains(['/', ' ']) {
            table.mistake(&at.place, format!("`{name}` is not the name of an interface"));
        }
        if name == ANY_INTERFACE && interfaces.len() > 1 {
            table.mistake(&at.place, "\"any\" is all interfaces; leave out the others, or it");
        }
        if interfaces[..n].iter().any(|before| before.value == name) {
            table.mistake(&at.place, format!("`{name}` is named twice"));
        }
    }
    interfaces.iter().map(|at| at.value.to_owned()).collect()
}
