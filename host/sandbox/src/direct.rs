//! Direct: a rule that came as a core module, called without the component model in between.
//!
//! Most of a call through a component is wasmtime's entry and exit: see host/docs/performance.md. A core module that was checked as a
//! component ([`fits`]) is called with fewer steps: the guest's allocator for the arguments, then `judge`, then the function that cleans up
//! after it, all by the canonical ABI ([`canonical`]). Its answer becomes the same types, checked against the same contract, and the same
//! limits stop it. Components, and modules that do not fit, are called through the component model.

#[cfg(any(test, feature = "both-ways"))]
pub mod both_ways;
mod canonical;
mod fits;
#[cfg(test)]
mod tests;

use postern_core::{Detail, Knock};
use wasmtime::{Caller, Engine, Extern, Instance, InstancePre, Linker, Memory, Module, Store, TypedFunc};

pub(crate) use self::fits::fits;

use self::canonical::{AnswerReader, GuestList, JudgeArguments};
use crate::contract::{HOST_INTERFACE, types};
use crate::guest::Guest;

/// Old block, its size, alignment, new size; the new block.
type Realloc = TypedFunc<(u32, u32, u32, u32), u32>;

/// Names of exports, as the tools of all languages agree on them.
mod export {
    pub(crate) const MEMORY: &str = "memory";
    pub(crate) const REALLOC: &str = "cabi_realloc";
    pub(crate) const INITIALIZE: &str = "_initialize";
    pub(crate) const CONFIGURE: &str = "configure";
    pub(crate) const AFTER_CONFIGURE: &str = "cabi_post_configure";
    pub(crate) const JUDGE: &str = "judge";
    pub(crate) const AFTER_JUDGE: &str = "cabi_post_judge";
}

/// A compiled core module, ready to be started any number of times.
pub(crate) struct DirectRulePre(InstancePre<Guest>);

/// A started one.
pub(crate) struct DirectRule {
    instance: Instance,
    memory: Memory,
    realloc: Realloc,
    judge: ExportedFunction<u32>,
}

/// An exported function; its answer is the place of the answer, which another function cleans up.
struct ExportedFunction<Arguments> {
    call: TypedFunc<Arguments, u32>,
    after: Option<TypedFunc<u32, ()>>,
}

impl DirectRulePre {
    /// Links a module that [`fits`].
    pub(crate) fn link(engine: &Engine, module: &Module) -> wasmtime::Result<Self> {
        // Else the first start would do it, and the guest would pay for it.
        module.initialize_copy_on_write_image()?;
        let mut linker = Linker::new(engine);
        linker.func_wrap(HOST_INTERFACE, "log", log)?;
        linker.instantiate_pre(module).map(Self)
    }

    pub(crate) fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<DirectRule> {
        let instance = self.0.instantiate(&mut *store)?;
        if instance.get_export(&mut *store, export::INITIALIZE).is_some() {
            instance.get_typed_func::<(), ()>(&mut *store, export::INITIALIZE)?.call(&mut *store, ())?;
        }
        let memory = instance.get_memory(&mut *store, export::MEMORY);
        Ok(DirectRule {
            memory: memory.ok_or_else(|| wasmtime::format_err!("it exports no memory"))?,
            realloc: instance.get_typed_func(&mut *store, export::REALLOC)?,
            judge: ExportedFunction::find(instance, store, export::JUDGE, export::AFTER_JUDGE)?,
            instance,
        })
    }
}

impl DirectRule {
    pub(crate) fn call_configure(
        &self,
        store: &mut Store<Guest>,
        settings: &str,
    ) -> wasmtime::Result<Result<types::Interest, String>> {
        let configure =
            ExportedFunction::find(self.instance, store, export::CONFIGURE, export::AFTER_CONFIGURE)?;
        let GuestList { place, length } = self.room_for(store, settings.as_bytes())?;
        write(self.memory.data_mut(&mut *store), place, settings.as_bytes())?;
        let answer = configure.call.call(&mut *store, (place, length))?;
        let interest = AnswerReader::new(self.memory.data(&*store)).interest(answer)?;
        configure.clean_up(store, answer)?;
        Ok(interest)
    }

    /// `detail` is what the rule asked for.
    pub(crate) fn call_judge(
        &self,
        store: &mut Store<Guest>,
        knock: &Knock,
        detail: Detail,
        memory: Option<&[u8]>,
    ) -> wasmtime::Result<types::Verdict> {
        let (tcp_header, payload) = (detail.tcp_header_of(knock), detail.payload_of(knock));
        let place = self.allocate(store, JudgeArguments::ALIGNMENT, JudgeArguments::SIZE)?;
        let arguments = JudgeArguments {
            knock,
            tcp_header: match tcp_header {
                Some(header) => Some((header, self.room_for(store, &header.options)?)),
                None => None,
            },
            payload: self.room_for(store, payload)?,
            memory: memory.map(|bytes| self.room_for(store, bytes)).transpose()?,
        };
        let guest = self.memory.data_mut(&mut *store);
        write(guest, place, &arguments.to_bytes())?;
        if let Some((header, list)) = arguments.tcp_header {
            write(guest, list.place, &header.options)?;
        }
        write(guest, arguments.payload.place, payload)?;
        if let (Some(list), Some(bytes)) = (arguments.memory, memory) {
            write(guest, list.place, bytes)?;
        }
        let answer = self.judge.call.call(&mut *store, place)?;
        let verdict = AnswerReader::new(self.memory.data(&*store)).verdict(answer)?;
        self.judge.clean_up(store, answer)?;
        Ok(verdict)
    }

    /// Allocates memory in the guest for a copy of `bytes`.
    fn room_for(&self, store: &mut Store<Guest>, bytes: &[u8]) -> wasmtime::Result<GuestList> {
        let place = self.allocate(store, 1, bytes.len())?;
        Ok(GuestList { place, length: u32::try_from(bytes.len())? })
    }

    fn allocate(&self, store: &mut Store<Guest>, alignment: u32, size: usize) -> wasmtime::Result<u32> {
        let place = self.realloc.call(&mut *store, (0, 0, alignment, u32::try_from(size)?))?;
        wasmtime::ensure!(
            place.is_multiple_of(alignment),
            "its allocator returned a pointer that is not aligned"
        );
        Ok(place)
    }
}

impl<Arguments: wasmtime::WasmParams> ExportedFunction<Arguments> {
    fn find(instance: Instance, store: &mut Store<Guest>, name: &str, after: &str) -> wasmtime::Result<Self> {
        let after = match instance.get_export(&mut *store, after) {
            Some(_) => Some(instance.get_typed_func(&mut *store, after)?),
            None => None,
        };
        Ok(Self { call: instance.get_typed_func(&mut *store, name)?, after })
    }

    fn clean_up(&self, store: &mut Store<Guest>, answer: u32) -> wasmtime::Result<()> {
        self.after.as_ref().map_or(Ok(()), |after| after.call(store, answer))
    }
}

/// Writes into memory that the guest said it has.
fn write(guest: &mut [u8], place: u32, bytes: &[u8]) -> wasmtime::Result<()> {
    let start = usize::try_from(place)?;
    let Some(room) = guest.get_mut(start..).and_then(|room| room.get_mut(..bytes.len())) else {
        wasmtime::bail!("its allocator returned memory that it does not have")
    };
    room.copy_from_slice(bytes);
    Ok(())
}

/// The import `log`: a level, and where the message is.
fn log(mut caller: Caller<'_, Guest>, level: u32, place: u32, length: u32) -> wasmtime::Result<()> {
    let guest = caller.data_mut();
    guest.clock.check()?;
    guest.log.count_line()?;
    guest.log.count_text(usize::try_from(length)?)?;
    let Some(Extern::Memory(memory)) = caller.get_export(export::MEMORY) else {
        wasmtime::bail!("it exports no memory");
    };
    let reader = AnswerReader::new(memory.data(&caller));
    let (level, text) = (reader.level(level)?, reader.text(GuestList { place, length })?);
    caller.data().log.write(level, text);
    Ok(())
}
