/** Something that is fuzzed: a property that holds for whatever comes. */
import type { IAsyncProperty, IProperty } from "fast-check";

/** A target and what must hold of it. */
export interface FuzzTarget {
  /** As `--target` takes it. */
  readonly name: string;
  /** What must hold, for the report. */
  readonly claim: string;
  // deno-lint-ignore no-explicit-any -- Each property has values of its own kind.
  readonly property: () => IProperty<any> | IAsyncProperty<any>;
}
