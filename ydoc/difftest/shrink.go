package difftest

import "slices"

// Shrink returns the smallest part of a scenario it finds in which bad still
// happens, by leaving out ever smaller runs of operations.
func (p *Peer) Shrink(s Scenario, bad func(Result) bool) (Scenario, error) {
	for size := max(len(s.Ops)/2, 1); ; {
		var parts []Scenario
		for from := 0; from < len(s.Ops); from += size {
			part := s
			part.Ops = slices.Delete(slices.Clone(s.Ops), from, min(from+size, len(s.Ops)))
			parts = append(parts, part)
		}
		if len(parts) == 0 {
			return s, nil
		}
		results, err := p.Run(parts)
		if err != nil {
			return s, err
		}
		switch i := slices.IndexFunc(results, bad); {
		case i >= 0:
			s = parts[i]
			size = max(min(size, len(s.Ops)/2), 1)
		case size == 1:
			return s, nil
		default:
			size /= 2
		}
	}
}
