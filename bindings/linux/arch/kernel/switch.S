/* SPDX-License-Identifier: GPL-2.0 */
/*
 * switch.h, for each machine. What a task's stack keeps is what the machine's C ABI says a call
 * preserves: tasks are switched by a call.
 */
#include <linux/linkage.h>

.macro function name
	.globl \name
	.hidden \name
	.type \name, %function
\name:
.endm

.macro end name
	.size \name, . - \name
.endm

	.text

#if defined(__x86_64__)

function anyk_swap
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
end anyk_swap

function anyk_call_on
	.cfi_startproc
	pushq %rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	movq %rsp, %rbp
	.cfi_def_cfa_register %rbp
	andq $-16, %rdx
	movq %rdx, %rsp
	movq %rdi, %rax
	movq %rsi, %rdi
	call *%rax
	movq %rbp, %rsp
	popq %rbp
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_endproc
end anyk_call_on

/* Six registers, of which rbx has the function, and where anyk_swap returns to: begin. There the
 * stack is aligned to 16 bytes, as the ABI has it before a call. */
function anyk_fresh_stack
	andq $-16, %rdi
	leaq -72(%rdi), %rax
	leaq begin(%rip), %rdx
	xorl %ecx, %ecx
	movq %rcx, 0(%rax)
	movq %rcx, 8(%rax)
	movq %rcx, 16(%rax)
	movq %rcx, 24(%rax)
	movq %rsi, 32(%rax)
	movq %rcx, 40(%rax)
	movq %rdx, 48(%rax)
	ret
end anyk_fresh_stack

begin:
	call *%rbx
	ud2

#elif defined(__aarch64__)

#define REGISTERS 160

function anyk_swap
	sub sp, sp, #REGISTERS
	stp x19, x20, [sp, #0]
	stp x21, x22, [sp, #16]
	stp x23, x24, [sp, #32]
	stp x25, x26, [sp, #48]
	stp x27, x28, [sp, #64]
	stp x29, x30, [sp, #80]
	stp d8, d9, [sp, #96]
	stp d10, d11, [sp, #112]
	stp d12, d13, [sp, #128]
	stp d14, d15, [sp, #144]
	mov x9, sp
	str x9, [x0]
	mov sp, x1
	ldp x19, x20, [sp, #0]
	ldp x21, x22, [sp, #16]
	ldp x23, x24, [sp, #32]
	ldp x25, x26, [sp, #48]
	ldp x27, x28, [sp, #64]
	ldp x29, x30, [sp, #80]
	ldp d8, d9, [sp, #96]
	ldp d10, d11, [sp, #112]
	ldp d12, d13, [sp, #128]
	ldp d14, d15, [sp, #144]
	add sp, sp, #REGISTERS
	ret
end anyk_swap

function anyk_call_on
	.cfi_startproc
	stp x29, x30, [sp, #-16]!
	.cfi_def_cfa_offset 16
	.cfi_offset x29, -16
	.cfi_offset x30, -8
	mov x29, sp
	.cfi_def_cfa_register x29
	and x2, x2, #-16
	mov sp, x2
	mov x9, x0
	mov x0, x1
	blr x9
	mov sp, x29
	ldp x29, x30, [sp], #16
	.cfi_def_cfa sp, 0
	ret
	.cfi_endproc
end anyk_call_on

/* x19 has the function, x30 where anyk_swap returns to: begin. */
function anyk_fresh_stack
	and x0, x0, #-16
	sub x0, x0, #REGISTERS
	mov x9, #0
1:	str xzr, [x0, x9]
	add x9, x9, #8
	cmp x9, #REGISTERS
	b.ne 1b
	adr x9, begin
	str x1, [x0, #0]
	str x9, [x0, #88]
	ret
end anyk_fresh_stack

begin:
	blr x19
	brk #1

#else
#error "no switch of stacks for this machine: see switch.h for what it has to do"
#endif

	.section .note.GNU-stack, "", %progbits
