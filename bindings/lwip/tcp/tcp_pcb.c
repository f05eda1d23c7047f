/*
 * A PCB of lwIP's begins and ends: our data attached to it.
 */
#include "base/hooks.h"
#include "lwip/priv/tcp_priv.h"
#include "tcp/tcp_ack.h"
#include "tcp/tcp_hash.h"
#include "tcp/tcp_reassembly.h"
#include "tcp/tcp_timer.h"

void hook_tcp_active(struct tcp_pcb *pcb)
{
    pcb->ts_offset = hook_tcp_timestamp_offset(&pcb->local_ip, &pcb->remote_ip);
    tcp_hash_add(pcb);
    tcp_timer_touch(pcb);
}

void hook_tcp_free(struct tcp_pcb *pcb)
{
    tcp_timer_forget(pcb);
    tcp_orphan_forget(pcb);
    tcp_reassembly_forget(pcb);
    tcp_ack_forget(pcb);
    tcp_hash_remove(pcb);
}
