/** Pauses between attempts: doubled each time up to most, spread by up to half so that many clients do not come at once. */
export class Backoff {
  private tries = 0;

  constructor(
    private readonly first = 250,
    private readonly most = 10_000,
    private readonly random: () => number = Math.random,
  ) {}

  /** The next pause in milliseconds. */
  next(): number {
    const full = Math.min(this.first * 2 ** this.tries, this.most);
    this.tries++;
    return full * (0.5 + this.random() / 2);
  }

  reset(): void {
    this.tries = 0;
  }
}
