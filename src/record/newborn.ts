/**
 * Tracees that were heard of before their parent's fork event.
 *
 * Problem: a child is attached by the kernel, and its first stop may be reported before the fork event of
 * its parent; a parent that is killed meanwhile never reports it.
 * Method: what such a tracee reports is kept until it is born; after PATIENCE_MS it is taken for an orphan.
 * Hazard: only stops count. The exits of children that are no tracees (the keeper) come here as well.
 */
import type { Tid } from '../base/brands.ts';
import type { WaitEvent } from '../sys/wait.ts';

const PATIENCE_MS = 300;

interface Early {
  readonly events: WaitEvent[];
  readonly since: number;
}

export class Newborn {
  readonly #early = new Map<Tid, Early>();

  get size(): number {
    return this.#early.size;
  }

  keep(event: WaitEvent): void {
    const known = this.#early.get(event.tid);
    if (known !== undefined) known.events.push(event);
    else if (event.kind !== 'exited' && event.kind !== 'killed') {
      this.#early.set(event.tid, { events: [event], since: Date.now() });
    }
  }

  /** What the tracee has reported so far; it is not kept any longer. */
  take(tid: Tid): readonly WaitEvent[] {
    const events = this.#early.get(tid)?.events ?? [];
    this.#early.delete(tid);
    return events;
  }

  /** Those whose parent will not speak any more. */
  orphans(): Tid[] {
    const before = Date.now() - PATIENCE_MS;
    return [...this.#early].filter(([, { since }]) => since <= before).map(([tid]) => tid);
  }
}
