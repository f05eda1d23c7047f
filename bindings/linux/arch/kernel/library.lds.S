/* SPDX-License-Identifier: GPL-2.0 */
/* Kernel and engine as one shared object. */
#include <asm/cache.h>
#include <asm/page.h>
#include <asm/thread_info.h>
#include <asm-generic/vmlinux.lds.h>

jiffies = jiffies_64;

SECTIONS
{
	. = SIZEOF_HEADERS;
	_text = .;
	.note.gnu.build-id : { *(.note.gnu.build-id) }
	.gnu.hash : { *(.gnu.hash) }
	.hash : { *(.hash) }
	.dynsym : { *(.dynsym) }
	.dynstr : { *(.dynstr) }
	.gnu.version : { *(.gnu.version) }
	.gnu.version_d : { *(.gnu.version_d) }
	.gnu.version_r : { *(.gnu.version_r) }
	.rela.plt : { *(.rela.plt) *(.rela.iplt) }
	.rela.dyn : { *(.rela.*) }
	.relr.dyn : { *(.relr.dyn) }

	. = ALIGN(CONSTANT(MAXPAGESIZE));
	.plt : { *(.plt) *(.iplt) }
	.plt.got : { *(.plt.got) }
	.text : {
		_stext = .;
		HEAD_TEXT
		TEXT_TEXT
		SCHED_TEXT
		LOCK_TEXT
		ENTRY_TEXT
		IRQENTRY_TEXT
		SOFTIRQENTRY_TEXT
		_sinittext = .;
		INIT_TEXT
		_einittext = .;
		EXIT_TEXT
		*(.text.*)
		_etext = .;
	}

	. = ALIGN(CONSTANT(MAXPAGESIZE));
	.eh_frame_hdr : { *(.eh_frame_hdr) }
	.eh_frame : { KEEP(*(.eh_frame)) }

	/* The kernel's constants are in sections that count as written to. */
	. = ALIGN(CONSTANT(MAXPAGESIZE));
	.rodata : { *(.rodata .rodata.* .rodata1) *(.ref.rodata) *(.init.rodata .init.rodata.*) }

	/* Loading the library relocates all data with addresses in it, and nothing write-protects it
	 * afterwards: __start_rodata and __end_rodata only name a part of .data. */
	. = ALIGN(CONSTANT(MAXPAGESIZE));
	_sdata = .;
	.data : {
		INIT_TASK_DATA(THREAD_SIZE)
		NOSAVE_DATA
		PAGE_ALIGNED_DATA(PAGE_SIZE)
		CACHELINE_ALIGNED_DATA(L1_CACHE_BYTES)
		READ_MOSTLY_DATA(L1_CACHE_BYTES)
		__start_rodata = .;
		SCHED_DATA
		RO_AFTER_INIT_DATA
		__end_rodata = .;
		*(.data.rel.ro .data.rel.ro.* .data.rel .data.rel.*)
		. = ALIGN(PAGE_SIZE);
		__per_cpu_load = .;
		PERCPU_INPUT(L1_CACHE_BYTES)
		. = ALIGN(8);
		BOUNDED_SECTION_BY(__param, ___param)
		BOUNDED_SECTION_BY(__modver, ___modver)
		BOUNDED_SECTION_BY(__ex_table, ___ex_table)
		DATA_DATA
		*(.data.* .exit.data .exit.data.*)
	}
	.notes : { BOUNDED_SECTION_BY(.note.Linux, _notes) }
	. = ALIGN(PAGE_SIZE);
	__init_begin = .;
	.init.data : {
		INIT_DATA
		INIT_SETUP(16)
		INIT_CALLS
		CON_INITCALL
		INIT_RAM_FS
	}
	. = ALIGN(PAGE_SIZE);
	__init_end = .;
	.dynamic : { *(.dynamic) }
	.got : { *(.got) *(.igot) }
	.got.plt : { *(.got.plt) *(.igot.plt) }
	_edata = .;
	BSS_SECTION(0, PAGE_SIZE, 0)
	_end = .;

	STABS_DEBUG
	DWARF_DEBUG
	ELF_DETAILS
	DISCARDS
	/DISCARD/ : { *(.note.GNU-stack) *(.note.gnu.property) }
}
