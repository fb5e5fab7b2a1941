/** Comparing bytes. */
import { Buffer } from "node:buffer";

/** Whether two arrays hold the same bytes, compared at the speed of memory. */
export function areEqual(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
