/**
 * Tracees that were heard of before their parent's fork event.
 *
 * Problem: a child is attached by the kernel, and its first stop may be reported before the fork event of
 * its parent; a parent that is killed meanwhile never reports it.
 * Method: what such a tracee reports is kept until it is born; after PATIENCE_MS it is taken for an orphan.
 * Hazards: one that is killed at once may report nothing but its death, and its parent speaks later; the
 * deaths of children that are no tracees (the keeper) come here as well, and are forgotten in time.
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

  /** Those that still live. */
  get size(): number {
    let living = 0;
    for (const { events } of this.#early.values()) if (!events.some(isDeath)) living++;
    return living;
  }

  keep(event: WaitEvent): void {
    const known = this.#early.get(event.tid);
    if (known !== undefined) known.events.push(event);
    else this.#early.set(event.tid, { events: [event], since: Date.now() });
  }

  /** What the tracee has reported so far; it is not kept any longer. */
  take(tid: Tid): readonly WaitEvent[] {
    const events = this.#early.get(tid)?.events ?? [];
    this.#early.delete(tid);
    return events;
  }

  /** Those that live and whose parent will not speak any more. The dead of that age are forgotten. */
  orphans(): Tid[] {
    const before = Date.now() - PATIENCE_MS;
    const orphans: Tid[] = [];
    for (const [tid, { since, events }] of this.#early) {
      if (since > before) continue;
      if (events.some(isDeath)) this.#early.delete(tid);
      else orphans.push(tid);
    }
    return orphans;
  }

  clear(): void {
    this.#early.clear();
  }
}

const isDeath = ({ kind }: WaitEvent): boolean => kind === 'exited' || kind === 'killed';
