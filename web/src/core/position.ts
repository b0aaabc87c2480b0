import { WINDOW } from './frame';

/**
 * Where one viewer stands in a terminal's output, over any number of connections.
 * It guarantees that every byte is shown once and in order.
 */
export class Position {
  /** Number of the next byte to show; undefined before the first connection. */
  next: number | undefined;
  private consumed = 0;
  private acked = 0;

  /** Starts a connection or resyncs one. True means that the screen no longer joins up and has to be cleared. */
  hello(first: number, truncated: boolean): boolean {
    const clear = truncated && this.next !== undefined;
    this.next = first;
    this.consumed = first;
    this.acked = first;
    return clear;
  }

  /** Takes output and returns the part of it that was not shown yet; undefined says that bytes are missing. */
  take(seq: number, data: Uint8Array): Uint8Array | undefined {
    const next = this.next ?? seq;
    if (seq > next) return undefined;
    const fresh = data.subarray(next - seq);
    this.next = next + fresh.length;
    return fresh;
  }

  /** Notes that the screen has taken n bytes. Returns the number to acknowledge when it is time to. */
  shown(n: number): number | undefined {
    this.consumed += n;
    if (this.consumed - this.acked < WINDOW / 4) return undefined;
    this.acked = this.consumed;
    return this.acked;
  }
}
