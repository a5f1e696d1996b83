package informer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// attempts calls retry with a function that returns the errors, one after another. It
// returns the time of each attempt since the first, and the error of retry.
func attempts(ctx context.Context, errs ...error) (made []time.Duration, err error) {
	began := time.Now()
	_, err = retry(ctx, func(error) {}, func() (struct{}, error) {
		made = append(made, time.Since(began))
		return struct{}{}, errs[min(len(made), len(errs))-1]
	})
	return made, err
}

var errAway = errors.New("connection refused")

func TestRetryWaitsLongerEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		made, err := attempts(t.Context(), errAway, errAway, errAway, errAway, errAway, errAway, errAway, nil)
		if err != nil || len(made) != 8 {
			t.Fatalf("%d attempts, then %v", len(made), err)
		}
		least := retryFirst
		for i := 1; i < len(made); i++ {
			if pause := made[i] - made[i-1]; pause < least || pause > least*3/2 {
				t.Errorf("pause %d took %v, want %v to half more", i, pause, least)
			}
			least = min(2*least, retryCap)
		}
	})
}

func TestRetryEnds(t *testing.T) {
	gone := apierrors.NewResourceExpired("too old")
	synctest.Test(t, func(t *testing.T) {
		if made, err := attempts(t.Context(), errAway, gone); !errors.Is(err, gone) || len(made) != 2 {
			t.Errorf("an error that requires another request was retried: %d attempts, then %v", len(made), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		began := time.Now()
		if _, err := attempts(ctx, errAway); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 10*time.Second {
			t.Errorf("it continued for %v after its context's 10 s: %v", time.Since(began)-10*time.Second, err)
		}
	})
}
