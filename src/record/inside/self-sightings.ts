/**
 * What processes saw of themselves before their memory went, from the log of a recording from inside
 * (runtime/inside-sight.c), in the form of what the watcher sees of others.
 */
import type { Pid } from '../../base/brands.ts';
import type { InsideEntry } from '../../sys/inside-log.ts';
import { parseMaps } from '../../sys/maps.ts';
import { regionsOf } from '../../sys/pagemap.ts';
import { type Executed, NOT_KNOWN } from '../proc.ts';
import type { Sighting } from '../sightings.ts';

/** @param entries in the order of the calls. */
export function selfSightings(entries: readonly InsideEntry[]): Sighting[] {
  const executed = new Map<Pid, Executed>();
  const maps = new Map<number, Buffer[]>();
  const pages = new Map<number, Buffer[]>();
  const sightings: Sighting[] = [];
  for (const entry of entries) {
    const { process } = entry;
    if (entry.kind === 'started') executed.set(process, entry);
    else if (entry.kind === 'forked') executed.set(process, executed.get(entry.parent) ?? NOT_KNOWN);
    else if (entry.kind === 'maps') add(maps, entry.look, entry.text);
    else if (entry.kind === 'pages') add(pages, entry.look, entry.regions);
    else if (entry.kind === 'seen') {
      const { program, argv, libraryPath } = executed.get(process) ?? NOT_KNOWN;
      const text = entry.borrowed ? '' : take(maps, entry.look).toString('utf8');
      const regions = entry.borrowed ? Buffer.alloc(0) : take(pages, entry.look);
      sightings.push({
        call: entry.call,
        time: entry.time,
        process: entry.looking,
        parent: entry.parent,
        status: entry.status,
        borrowed: entry.borrowed,
        program,
        argv,
        libraryPath,
        mappings: parseMaps(text),
        backed: regionsOf(regions),
      });
    }
  }
  return sightings;
}

function add(pieces: Map<number, Buffer[]>, look: number, piece: Buffer): void {
  const known = pieces.get(look);
  if (known === undefined) pieces.set(look, [piece]);
  else known.push(piece);
}

function take(pieces: Map<number, Buffer[]>, look: number): Buffer {
  const whole = Buffer.concat(pieces.get(look) ?? []);
  pieces.delete(look);
  return whole;
}
