//! WebAssembly as bytes, for modules that no text could be parsed to: sections and code that are longer than they were.

/// The number of the section with code, and of that with data.
const CODE: u8 = 10;
const DATA: u8 = 11;

/// A number in LEB128, and how many bytes it takes.
fn number(bytes: &[u8]) -> (usize, usize) {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).expect("it ends") + 1;
    let value = bytes[..length].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f));
    (value, length)
}

/// A number in LEB128.
pub(crate) fn leb(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits");
        value >>= 7;
        bytes.push(if value == 0 { low } else { low | 0x80 });
        if value == 0 {
            return bytes;
        }
    }
}

/// The module with a custom section of so many zeros.
pub(crate) fn with_nothing(module: &[u8], length: usize) -> Vec<u8> {
    [module, &[0], &leb(length + 2), &[1, b'n'], &vec![0; length]].concat()
}

/// The module with other instructions in each function that has those of `from`, in place of them.
pub(crate) fn with_code(module: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    with_section(module, CODE, |section| {
        let (count, mut place) = number(section);
        let mut whole = leb(count);
        for _ in 0..count {
            let (size, header) = number(&section[place..]);
            let body = &section[place + header..place + header + size];
            let at = body.windows(from.len()).position(|bytes| bytes == from);
            let body = match at {
                Some(at) => [&body[..at], to, &body[at + from.len()..]].concat(),
                None => body.to_vec(),
            };
            whole.extend(leb(body.len()));
            whole.extend(body);
            place += header + size;
        }
        whole
    })
}

/// The module, which has some data, with more of it: at the byte 2048 of its memory.
pub(crate) fn with_data(module: &[u8], data: &[u8]) -> Vec<u8> {
    with_section(module, DATA, |section| {
        let (count, length) = number(section);
        // In the first memory, at a constant.
        let begin = [0, 0x41, 0x80, 0x10, 0x0b];
        [&leb(count + 1), &section[length..], &begin, &leb(data.len()), data].concat()
    })
}

fn with_section(module: &[u8], which: u8, change: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut whole = module[..8].to_vec();
    let mut place = 8;
    while place < module.len() {
        let (size, header) = number(&module[place + 1..]);
        let (from, to) = (place + 1 + header, place + 1 + header + size);
        let section =
            if module[place] == which { change(&module[from..to]) } else { module[from..to].to_vec() };
        whole.push(module[place]);
        whole.extend(leb(section.len()));
        whole.extend(section);
        place = to;
    }
    whole
}
