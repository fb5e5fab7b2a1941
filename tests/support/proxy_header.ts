/** Headers of the PROXY protocol, version 2, as a balancer writes them. */

const signature = [13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10];

/** A header with these bytes behind its first 16. @param version Version and command. */
export function v2(version: number, family: number, rest: readonly number[]): Uint8Array {
  const length = [rest.length >> 8, rest.length & 0xff];
  return Uint8Array.from([...signature, version, family, ...length, ...rest]);
}

/** A value with its type and length. */
export function tlv(type: number, value: readonly number[]): number[] {
  return [type, value.length >> 8, value.length & 0xff, ...value];
}
