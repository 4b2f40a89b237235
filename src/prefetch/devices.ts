/** The devices that the planned files lie on, and the gap of each. */
import { MOST_FILES, measureReads, type ReadRates } from '../sys/read-rate.ts';
import { deviceNumbers, deviceTraits } from './device.ts';
import { chooseGap, ENOUGH } from './gap.ts';
import type { PlannedDevice } from './model.ts';

/** A file of a device, as it lies on this machine. */
export interface DeviceFile {
  readonly here: string;
  readonly size: number;
  readonly dev: bigint;
}

export interface DeviceOptions {
  /** Pages between two extents that are read rather than skipped; by default the device decides. */
  readonly gapPages?: number;
  /** Pages of one readahead call; by default the device decides. */
  readonly chunkPages?: number;
  /** Stands for the measurement, in tests. */
  readonly measure?: (files: readonly string[], enough: number) => ReadRates;
}

export class Devices {
  readonly #known = new Map<bigint, PlannedDevice>();
  readonly #files: readonly DeviceFile[];
  readonly #options: DeviceOptions;

  /** @param files what may be read to measure their devices. */
  constructor(files: readonly DeviceFile[], options: DeviceOptions) {
    this.#files = files;
    this.#options = options;
  }

  /** Those that were asked for. */
  get all(): readonly PlannedDevice[] {
    return [...this.#known.values()];
  }

  /** Measures the device when it is asked for the first time. */
  of(dev: bigint): PlannedDevice {
    const known = this.#known.get(dev);
    if (known !== undefined) return known;
    const { name, isRotational, chunkPages } = deviceTraits(dev);
    const { gapPages: asked, chunkPages: chunk, measure = measureReads } = this.#options;
    const gap = chooseGap(asked, isRotational, () => measure(this.#largest(dev), ENOUGH));
    const device = { number: deviceNumbers(dev), name, ...gap, chunkPages: chunk ?? chunkPages };
    this.#known.set(dev, device);
    return device;
  }

  #largest(dev: bigint): readonly string[] {
    return this.#files
      .filter((file) => file.dev === dev)
      .sort((a, b) => b.size - a.size)
      .slice(0, MOST_FILES)
      .map(({ here }) => here);
  }
}
