/** Writes plan.bin (runtime/plan.h). */

import { roundUp8, Strings, writeTime } from '../base/records.ts';
import type { PlannedFile, PrefetchPlan, Probe } from '../prefetch/model.ts';
import {
  ENVELOPE,
  EXTENT,
  FILE,
  HEADER,
  LOOKUP,
  PLAN_CHUNK_MAX,
  PLAN_HEAD_MAX,
  PLAN_MAGIC,
  PLAN_PROBES_MAX,
  PLAN_SIZE_MAX,
  PLAN_TASK_FILE,
  PLAN_TASK_LOOKUPS,
  PLAN_VERSION,
  PLAN_WORKERS_MAX,
  PROBE,
  planChecksum,
  TASK,
} from './plan-layout.ts';

/** The probes that fit the head: a warm start reads no more than PLAN_HEAD_MAX bytes. */
function fittingProbes(probes: readonly Probe[]): Probe[] {
  const fitting: Probe[] = [];
  const paths = new Set<string>();
  let size = HEADER.size;
  for (const probe of probes) {
    const more = PROBE.size + (paths.has(probe.path) ? 0 : Buffer.byteLength(probe.path) + 1);
    if (fitting.length === PLAN_PROBES_MAX || roundUp8(size + more) > PLAN_HEAD_MAX) continue;
    size += more;
    paths.add(probe.path);
    fitting.push(probe);
  }
  return fitting;
}

function headProbes(all: readonly Probe[]): { count: number; bytes: Buffer } {
  const probes = fittingProbes(all);
  const strings = new Strings();
  const table = Buffer.alloc(probes.length * PROBE.size);
  const base = HEADER.size + table.length;
  probes.forEach((probe, index) => {
    table.writeUInt32LE(base + strings.add(probe.path), index * PROBE.size + PROBE.path);
    table.writeUInt32LE(probe.page, index * PROBE.size + PROBE.page);
  });
  return { count: probes.length, bytes: Buffer.concat([table, strings.bytes()]) };
}

function fileTables(files: readonly PlannedFile[], strings: Strings): { table: Buffer; extents: Buffer } {
  const table = Buffer.alloc(files.length * FILE.size);
  const extents = Buffer.alloc(files.reduce((sum, file) => sum + file.extents.length, 0) * EXTENT.size);
  let extent = 0;
  files.forEach((file, index) => {
    const at = index * FILE.size;
    table.writeUInt32LE(strings.add(file.path), at + FILE.path);
    table.writeUInt32LE(file.chunkPages, at + FILE.chunk_pages);
    table.writeBigUInt64LE(BigInt(file.size), at + FILE.file_size);
    writeTime(table, at + FILE.mtime_sec, at + FILE.mtime_nsec, file.mtimeNs);
    table.writeBigUInt64LE(file.inode, at + FILE.inode);
    table.writeUInt32LE(extent, at + FILE.extent_first);
    table.writeUInt32LE(file.extents.length, at + FILE.extent_count);
    for (const { page, count } of file.extents) {
      extents.writeUInt32LE(page, extent * EXTENT.size + EXTENT.page);
      extents.writeUInt32LE(count, extent * EXTENT.size + EXTENT.count);
      extent += 1;
    }
  });
  return { table, extents };
}

function lookupTable(plan: PrefetchPlan, strings: Strings): Buffer {
  const table = Buffer.alloc(plan.lookups.length * LOOKUP.size);
  plan.lookups.forEach(({ path, found }, index) => {
    table.writeUInt32LE(strings.add(path), index * LOOKUP.size + LOOKUP.path);
    table.writeUInt32LE(found ? 1 : 0, index * LOOKUP.size + LOOKUP.found);
  });
  return table;
}

function taskTable(plan: PrefetchPlan): Buffer {
  const table = Buffer.alloc(plan.tasks.length * TASK.size);
  const firstExtents: number[] = [];
  let extents = 0;
  for (const file of plan.files) {
    firstExtents.push(extents);
    extents += file.extents.length;
  }
  plan.tasks.forEach((task, index) => {
    const at = index * TASK.size;
    const file = task.kind === 'file' ? task.file : 0;
    const base = task.kind === 'file' ? (firstExtents[file] ?? 0) : 0;
    table.writeUInt32LE(task.kind === 'file' ? PLAN_TASK_FILE : PLAN_TASK_LOOKUPS, at + TASK.kind);
    table.writeUInt32LE(file, at + TASK.file);
    table.writeUInt32LE(base + task.first, at + TASK.first);
    table.writeUInt32LE(task.count, at + TASK.count);
  });
  return table;
}

/**
 * The bytes of plan.bin. Probes that do not fit the head are left out.
 * @throws RangeError where the plan breaks a limit of the format; the planner keeps to them.
 */
export function encodePlan(plan: PrefetchPlan): Uint8Array {
  if (plan.workers < 1 || plan.workers > PLAN_WORKERS_MAX) throw new RangeError('workers');
  if (plan.files.some(({ chunkPages }) => chunkPages < 1 || chunkPages > PLAN_CHUNK_MAX)) {
    throw new RangeError('chunk pages');
  }
  const strings = new Strings();
  const probes = headProbes(plan.probes);
  const files = fileTables(plan.files, strings);
  const lookups = lookupTable(plan, strings);
  const tasks = taskTable(plan);
  const texts = strings.bytes();
  const body = Buffer.concat([files.table, files.extents, lookups, tasks, texts]);
  const headSize = HEADER.size + probes.bytes.length;
  const total = headSize + body.length;
  if (total > PLAN_SIZE_MAX) throw new RangeError('plan size');

  const header = Buffer.alloc(HEADER.size);
  header.writeBigUInt64LE(PLAN_MAGIC, ENVELOPE.magic);
  header.writeUInt32LE(PLAN_VERSION, ENVELOPE.version);
  header.writeUInt32LE(headSize, ENVELOPE.head_size);
  header.writeBigUInt64LE(BigInt(total), ENVELOPE.total_size);
  header.writeBigUInt64LE(planChecksum(body), HEADER.body_checksum);
  header.writeUInt32LE(probes.count, HEADER.probe_count);
  header.writeUInt32LE(plan.workers, HEADER.workers);
  header.writeUInt32LE(plan.files.length, HEADER.file_count);
  header.writeUInt32LE(files.extents.length / EXTENT.size, HEADER.extent_count);
  header.writeUInt32LE(plan.lookups.length, HEADER.lookup_count);
  header.writeUInt32LE(plan.tasks.length, HEADER.task_count);
  header.writeUInt32LE(texts.length, HEADER.strings_size);

  const bytes = Buffer.concat([header, probes.bytes, body]);
  const sum = planChecksum(bytes.subarray(ENVELOPE.size, headSize));
  bytes.writeBigUInt64LE(sum, ENVELOPE.head_checksum);
  return bytes;
}
